"""``cifar-cnn predict``: classify images."""

import sys
from argparse import Namespace

from cifar_cnn.analysis.predict import classify_files
from cifar_cnn.base.errors import InputError
from cifar_cnn.base.tables import printable
from cifar_cnn.runs.checkpoints import load_trained
from cifar_cnn.runs.folders import find_checkpoint


def run(options: Namespace) -> int:
    """Classify images and write the results; return the exit status, 1 if any image was unreadable.

    Raises:
        InputError: there is no image or no checkpoint, or the output is not writable.
    """
    _check(options)
    trained = load_trained(find_checkpoint(options.ckpt_path))
    classified = classify_files(trained, options.paths, options.output, options.top, options.batch_size)
    if options.output:
        print(f"{classified.count:,} image{'s' * (classified.count != 1)} classified: {printable(str(options.output))}")
    for each in classified.unreadable:
        print(f"cifar-cnn: unreadable image: {printable(each)}", file=sys.stderr)
    if classified.skipped:
        print(f"cifar-cnn: {printable(str(classified.skipped))}", file=sys.stderr)
    return 1 if classified.unreadable else 0


def _check(options: Namespace) -> None:
    if options.top < 1 or options.batch_size < 1:
        raise InputError("--top and --batch_size must be 1 or more")
    if options.output and (options.output.is_dir() or not options.output.name):
        raise InputError(f"--output must be a CSV or JSON file, not the folder {options.output}")
    if options.output and options.output.suffix.lower() not in ("", ".csv", ".json"):
        raise InputError(f"--output must be a .csv or .json file, not {options.output.name}")

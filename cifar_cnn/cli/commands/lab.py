"""``cifar-cnn lab``: write the exercises of the lab, or check answers."""

import shlex
from argparse import Namespace
from pathlib import Path

from cifar_cnn import lab
from cifar_cnn.base.errors import InputError
from cifar_cnn.base.paths import relative
from cifar_cnn.base.tables import printable
from cifar_cnn.lab import submissions


def run(options: Namespace) -> int:
    """Write the exercises or check answers; return the exit status, 1 if any answer did not pass.

    Raises:
        InputError: a file or exercise does not exist, or a file to write already exists.
    """
    if options.action == "start":
        return _start(options.folder, options.language)
    if options.all is not None:
        return _check_all(options)
    if options.output is not None:
        raise InputError("--output requires --all")
    if not options.words:
        raise InputError("give a student's file, such as lab.py, or --all and a folder of submissions")
    path, *exercises = options.words
    results = lab.check(Path(path), exercises, options.language)
    print(results)
    return 0 if results.passed else 1


def _start(folder: Path, language: str) -> int:
    module, notebook = lab.start(folder, language)
    print(f"Fill in {relative(module)} or the notebook {relative(notebook)}, then check the answers with")
    print(f"  cifar-cnn lab check {shlex.quote(relative(module))}")
    return 0


def _check_all(options: Namespace) -> int:
    folder = options.output or options.all
    if options.all.is_dir():  # otherwise the next line says so
        submissions.check_writable(folder)
    checked = submissions.check_all(options.all, options.words, options.language or "en")
    found = []
    for each in checked:
        print(printable(each.line), flush=True)
        found.append(each)
    files = submissions.write_results(found, folder, options.language or "en")
    print(f"Results: {', '.join(relative(path) for path in files)}")
    return 0 if all(each.results.passed for each in found) else 1

"""The options of the commands that read runs. Does not import torch, so that help and errors appear at once."""

import argparse
import shlex
from collections.abc import Callable
from pathlib import Path

from cifar_cnn.base.errors import InputError
from cifar_cnn.cli import compare_arguments, export_arguments, lab_arguments
from cifar_cnn.cli.argument_parser import ArgumentParser
from cifar_cnn.runs.folders import RUNS


def parse(args: list[str]) -> argparse.Namespace:
    """Parse the command line of a command that reads runs.

    Args:
        args: the command and its arguments.

    Returns:
        The options, with ``command_line`` and ``fit_options`` (options of ``fit`` that ``compare`` and ``show``
        accept).

    Raises:
        InputError: an argument is missing, unknown or invalid.
    """
    command, *own = args
    own, fit_options = _split_fit_options(own) if command in ("compare", "show") else (own, [])
    parser, own = of_action(command, own)
    options = parser.parse_args(own)
    options.fit_options = fit_options
    options.command_line = shlex.join(["cifar-cnn", *args])
    return options


def of_action(command: str, words: list[str]) -> tuple[ArgumentParser, list[str]]:
    """The parser of a command, or of its action as in ``lab check``, and the arguments that it has to parse."""
    if command == "lab" and words and words[0] in LAB_PARSERS:
        parser = LAB_PARSERS[words[0]]()
        parser.set_defaults(action=words[0])
        return parser, words[1:]
    return PARSERS[command](), words


def _split_fit_options(args: list[str]) -> tuple[list[str], list[str]]:
    """Separate the options of a command from options of ``fit``, whose names contain a dot."""
    own: list[str] = []
    passed_on: list[str] = []
    rest = iter(args)
    for arg in rest:
        name, equals, _ = arg.partition("=")
        if not (name.startswith("--") and "." in name):
            own.append(arg)
            continue
        passed_on.append(arg)
        if not equals:
            if (value := next(rest, None)) is None:
                raise InputError(f"{arg} needs a value")
            passed_on.append(value)
    return own, passed_on


def predict() -> ArgumentParser:
    """The options of ``cifar-cnn predict``."""
    parser = ArgumentParser(
        "predict",
        "Classify images of any size and format with a trained network. Unreadable images are skipped and listed at\n"
        "the end; the exit status is then 1. Folders are searched for files with image suffixes; other files are\n"
        "skipped and counted.",
        [
            "photo.jpg",
            "holiday/ --top 1",
            "holiday/ --output classes.csv",
            "a.png b.png --ckpt_path lightning_logs/version_3",
        ],
    )
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="IMAGE_OR_FOLDER",
        help="images, or folders to search for them, at any depth",
    )
    parser.add_argument(
        "--ckpt_path",
        default="best",
        metavar="PATH",
        help="a checkpoint, or a run folder for its best checkpoint (default: the newest run's best)",
    )
    parser.add_argument(
        "--top", type=int, default=3, metavar="N", help="number of classes shown per image (default: 3)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="write class and probabilities of each image to FILE (.csv or .json) instead",
    )
    parser.add_argument("--batch_size", type=int, default=256, metavar="N", help="images per batch (default: 256)")
    return parser


def report() -> ArgumentParser:
    """The options of ``cifar-cnn report``."""
    parser = ArgumentParser(
        "report",
        "Write report.html into a run's folder: results, curves, confusions, mistakes, filters, feature maps, layers,\n"
        "and how to reproduce the run. The page is self-contained. If the run was tested, it shows test images,\n"
        "otherwise validation images. fit and test also write this report.",
        ["", "lightning_logs/version_3"],
    )
    parser.add_argument("run", nargs="?", metavar="RUN", help="folder of a run (default: the newest)")
    return parser


def explain() -> ArgumentParser:
    """The options of ``cifar-cnn explain``."""
    parser = ArgumentParser(
        "explain",
        "Measure properties of trained networks that theory predicts: equivariance of feature maps to translation,\n"
        "invariance of pooled features and predictions to shifts, parameter sharing and local connectivity.\n"
        "Several runs are plotted side by side.",
        [
            "",
            "lightning_logs/version_0 lightning_logs/version_1",
            "lightning_logs/version_0 --images 200 --output theory",
        ],
    )
    parser.add_argument("runs", nargs="*", metavar="RUN", help="folders of runs (default: the newest)")
    parser.add_argument(
        "--images", type=int, default=1000, metavar="N", help="test or validation images to measure on (default: 1000)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="folder for figures and numbers (default: explain, in the folder of the first run)",
    )
    return parser


def runs() -> ArgumentParser:
    """The options of ``cifar-cnn runs``."""
    parser = ArgumentParser(
        "runs",
        "List all runs: name (or config), finished epochs, best validation accuracy, test accuracy, start, training\n"
        "time and status: running, finished, interrupted (resume it with fit --ckpt_path) or failed.",
        ["", "elsewhere/lightning_logs"],
    )
    parser.add_argument(
        "folder", nargs="?", default=RUNS, metavar="FOLDER", help=f"folder of the runs (default: {RUNS})"
    )
    return parser


def show() -> ArgumentParser:
    """The options of ``cifar-cnn show``."""
    parser = ArgumentParser(
        "show",
        "Draw images with their class names, as a PNG or in a window: those of a run, or those selected by a config\n"
        "and data options (as for fit; default: CIFAR-10). The sample is the same each time.",
        [
            "--config resnet18 --augmented --output images.png",
            "--data.source ImageFolder --data.source.root DIR --split test -n 40",
            "lightning_logs/version_0 --split val --output images.png",
        ],
    )
    parser.add_argument("run", nargs="?", metavar="RUN", help="folder of a run, or a checkpoint")
    parser.add_argument(
        "-c", "--config", action="append", default=[], metavar="FILE", help="show the images selected by a config"
    )
    parser.add_argument("--split", choices=("train", "val", "test"), default="train", help="(default: train)")
    parser.add_argument("-n", type=int, default=24, metavar="N", help="number of images (default: 24)")
    parser.add_argument("--augmented", action="store_true", help="augment the images as in a training step")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="PNG file to write (default: show a window, if there is a display)"
    )
    return parser


def configs() -> ArgumentParser:
    """The options of ``cifar-cnn configs``."""
    parser = ArgumentParser(
        "configs",
        "List the configs that are installed with the package. Use one by its name: cifar-cnn fit --config NAME.\n"
        "With a folder, copy the configs into it for reading and editing.",
        ["", "configs"],
    )
    parser.add_argument("folder", nargs="?", metavar="DIR", help="folder to copy the configs into (created if missing)")
    return parser


PARSERS: dict[str, Callable[[], ArgumentParser]] = {
    "predict": predict,
    "report": report,
    "explain": explain,
    "compare": compare_arguments.compare,
    "ensemble": export_arguments.ensemble,
    "export": export_arguments.export,
    "runs": runs,
    "show": show,
    "configs": configs,
    "lab": lab_arguments.lab,
}
LAB_PARSERS = {"start": lab_arguments.start, "check": lab_arguments.check}

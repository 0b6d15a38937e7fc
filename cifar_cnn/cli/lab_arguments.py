"""The options of ``cifar-cnn lab``. Does not import torch, so that help and errors appear at once."""

from pathlib import Path

from cifar_cnn.cli.argument_parser import ArgumentParser


def lab() -> ArgumentParser:
    """The actions of ``cifar-cnn lab``."""
    parser = ArgumentParser(
        "lab",
        "Write the exercises of the lab into a folder, or check answers and get hints.\n\n"
        "  start     write the exercises into a folder: lab.py and a notebook, in English or Romanian\n"
        "  check     check a student's file, or a folder of submissions\n\n"
        "See `cifar-cnn lab start --help` and `cifar-cnn lab check --help`.",
        ["start lab1", "start lab1 --language ro", "check lab1/lab.py", "check --all submissions/"],
    )
    parser.add_argument("action", choices=("start", "check"), metavar="ACTION", help="start or check")
    return parser


def start() -> ArgumentParser:
    """The options of ``cifar-cnn lab start``."""
    parser = ArgumentParser(
        "lab start",
        "Write the exercises into a folder: lab.py, to complete in any editor, and lab.ipynb, the same exercises as\n"
        "a notebook, with cells that check and train each answer. Existing files are never overwritten. The check\n"
        "uses the same language for its messages.",
        ["lab1", "lab1 --language ro"],
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder to write into (created if missing)")
    parser.add_argument(
        "--language", choices=("en", "ro"), default="en", help="en (English) or ro (Romanian) (default: en)"
    )
    return parser


def check() -> ArgumentParser:
    """The options of ``cifar-cnn lab check``."""
    parser = ArgumentParser(
        "lab check",
        "Check answers to the exercises. The table shows which answers passed and gives hints for the others. Each\n"
        "answer runs in a separate process with a time limit. The exit status is 0 if all passed, otherwise 1.\n\n"
        "With --all, check each file FOLDER/NAME.py and each FOLDER/NAME/lab.py, and write results.csv and\n"
        "results.html. The check runs the submitted code: use a machine or account on which it can do no harm.",
        [
            "lab.py",
            "lab.py 1a 5",
            "lab.py --language ro",
            "--all submissions/",
            "--all submissions/ 1 2 --output results",
        ],
        usage="cifar-cnn lab check FILE [EXERCISE ...] [--language {en,ro}]\n"
        "       cifar-cnn lab check --all FOLDER [EXERCISE ...] [--language {en,ro}] [--output DIR]",
    )
    parser.add_argument("words", nargs="*", metavar="FILE [EXERCISE ...]", help=_WORDS)
    parser.add_argument(
        "--all", type=Path, metavar="FOLDER", help="check all submissions in a folder instead of one file"
    )
    parser.add_argument(
        "--language", choices=("en", "ro"), help="language of the messages (default: the language of the file, or en)"
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="with --all: folder for the results (default: FOLDER)"
    )
    return parser


_WORDS = "a student's file, and the exercises to check: 1a 1b 1c 2 3 4a 4b 5 6 7, or 1 or 4 (default: all)"

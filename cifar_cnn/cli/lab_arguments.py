"""The options of ``cifar-cnn lab``. Imports no torch, so that help and errors appear at once."""

from pathlib import Path

from cifar_cnn.cli.argument_parser import ArgumentParser


def lab() -> ArgumentParser:
    """The words that may follow ``cifar-cnn lab``."""
    parser = ArgumentParser(
        "lab",
        "The exercises of the lab, to fill in, and a check of the answers that says what to look at.\n\n"
        "  start     write the exercises into a folder: lab.py and a notebook, in English or Romanian\n"
        "  check     check a student's file, or a folder of submissions\n\n"
        "`cifar-cnn lab start --help` and `cifar-cnn lab check --help` say more.",
        ["start lab1", "start lab1 --language ro", "check lab1/lab.py", "check --all submissions/"],
    )
    parser.add_argument("action", choices=("start", "check"), metavar="ACTION", help="start or check")
    return parser


def start() -> ArgumentParser:
    """The options of ``cifar-cnn lab start``."""
    parser = ArgumentParser(
        "lab start",
        "Write the exercises into a folder: lab.py, to be filled in with any editor, and lab.ipynb, the same as a\n"
        "notebook, with cells that check and train each answer. Files that exist are never overwritten. The language\n"
        "is also that of the check's messages.",
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
        "Check answers to the exercises. The table says which passed and, for the others, what to look at. Each\n"
        "answer runs in a process of its own with a time limit. The exit status is 0 if all passed, otherwise 1.\n\n"
        "With --all, check each file FOLDER/NAME.py and each FOLDER/NAME/lab.py, and write results.csv and\n"
        "results.html. The check runs the code of the submissions: do so where they can do no harm.",
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
        "--all", type=Path, metavar="FOLDER", help="check the submissions of a folder instead of a file"
    )
    parser.add_argument(
        "--language", choices=("en", "ro"), help="language of the messages (default: as the file states, or en)"
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="with --all: folder for the two files (default: FOLDER)"
    )
    return parser


_WORDS = "a student's file, and the exercises to check: 1a 1b 1c 2 3 4a 4b 5 6 7, or 1 or 4 (default: all)"

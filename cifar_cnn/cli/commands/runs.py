"""``cifar-cnn runs``: list the runs in a folder."""

from argparse import Namespace
from pathlib import Path

from cifar_cnn.analysis.runs import table


def run(options: Namespace) -> int:
    """Print the table; return the exit status."""
    print(table(Path(options.folder)))
    return 0

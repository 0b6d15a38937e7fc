"""``cifar-cnn runs``: a table of the runs of a folder."""

from argparse import Namespace
from pathlib import Path

from cifar_cnn.analysis.runs import table


def run(options: Namespace) -> int:
    """Print the table; returns the exit status."""
    print(table(Path(options.folder)))
    return 0

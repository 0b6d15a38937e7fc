"""This process: its rank on this machine and the program that it runs. Imports no large library."""

import os
import shlex
import sys

from cifar_cnn.paths import relative

# Set for the processes that Lightning starts, so that each knows it before it has imported anything.
STARTED_BY = "CIFAR_CNN_STARTED_BY"

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


def local_rank() -> int:
    """The rank of this process among those of one training on this machine."""
    return int(os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID") or 0)


def program(model: type) -> str:
    """What a user types to train a ``model``: ``cifar-cnn``, or ``python`` and the script that passes its own class."""
    path = os.path.abspath(sys.argv[0])
    is_script = os.path.basename(path) not in ("cifar-cnn", "cifar-cnn.exe") and not path.startswith(_PACKAGE)
    return f"python {shlex.quote(relative(path))}" if is_script and is_own(model) else "cifar-cnn"


def is_own(model: type) -> bool:
    """Whether a class of the user's own, not of this package."""
    return model.__module__.partition(".")[0] != "cifar_cnn"

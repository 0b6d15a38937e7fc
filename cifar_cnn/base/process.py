"""The rank of this process and the program that it runs. This module imports no large library."""

import os
import shlex
import sys
import sysconfig

from cifar_cnn.base.paths import relative

# Environment variable that identifies processes started by Lightning before they have imported anything.
STARTED_BY = "CIFAR_CNN_STARTED_BY"

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
PROGRAM = os.path.join(_PACKAGE, "__main__.py")  # python PROGRAM is the command cifar-cnn


def local_rank() -> int:
    """The rank of this process among the processes of a run on this machine."""
    return int(os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID") or 0)


def environment() -> dict[str, str]:
    """The environment variables with which a new Python process imports this very package.

    Without them, it would import another copy of the package that is installed, such as an editable checkout.
    """
    root = os.path.dirname(os.path.dirname(_PACKAGE))
    if root in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        return dict(os.environ)  # installed; on PYTHONPATH, all other packages would take precedence over Python's own
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])}


def program(model: type) -> str:
    """The command that trains a ``model``: ``cifar-cnn``, or ``python`` and the script that defines its class."""
    path = os.path.abspath(sys.argv[0])
    is_script = os.path.basename(path) not in ("cifar-cnn", "cifar-cnn.exe") and not path.startswith(_PACKAGE)
    return f"python {shlex.quote(relative(path))}" if is_script and is_own(model) else "cifar-cnn"


def is_own(model: type) -> bool:
    """Whether a class is the user's own rather than this package's."""
    return model.__module__.partition(".")[0] != "cifar_cnn"

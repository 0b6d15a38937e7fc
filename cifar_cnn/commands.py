"""What is known before anything large is imported: the names of the commands, and which process this is."""

import difflib
import os
import shlex
import sys

# The variable by which a process knows, before it has imported anything, that Lightning has started it for another one.
STARTED_BY = "CIFAR_CNN_STARTED_BY"

TRAINING = ("fit", "validate", "test")  # methods of the Trainer
ANALYSES = ("predict", "report", "explain", "compare", "export")  # modules of cifar_cnn.analysis
ALL = (*TRAINING, *ANALYSES)


def local_rank() -> int:
    """Which of the processes of one training on this machine this is; the first is 0."""
    return int(os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID") or 0)


def mistake(name: str | None) -> str | None:
    """What is wrong with a first word of the command line, in one line; None for a command."""
    if name is None:
        return f"give a command: {', '.join(ALL)}; `cifar-cnn --help` says more"
    if name in ALL:
        return None
    nearest = difflib.get_close_matches(name, ALL, n=3, cutoff=0.6) or ALL
    return f"unknown command {name!r}; nearest: {', '.join(nearest)}"


def program(model: type) -> str:
    """What is typed to train a ``model``: ``cifar-cnn``, or Python and the script that has a class of its own."""
    own = model.__module__.partition(".")[0] != "cifar_cnn"
    return f"python {shlex.quote(os.path.relpath(sys.argv[0]))}" if own else "cifar-cnn"

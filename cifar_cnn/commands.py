"""What is known before anything large is imported: the names of the commands, and which process this is."""

import difflib
import os
import shlex
import sys

from cifar_cnn.errors import InputError
from cifar_cnn.paths import relative

# The variable by which a process knows, before it has imported anything, that Lightning has started it for another one.
STARTED_BY = "CIFAR_CNN_STARTED_BY"

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
TRAINING = ("fit", "validate", "test")  # methods of the Trainer
ANALYSES = ("predict", "report", "explain", "compare", "export", "runs", "show", "configs")  # of cifar_cnn.cli.commands
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
    if meant := _MEANT.get(name.lower()):
        return f"unknown command {name!r}: use {meant}"
    nearest = difflib.get_close_matches(name, ALL, n=1, cutoff=0.6)
    hint = f"nearest: {nearest[0]}" if nearest else "`cifar-cnn --help` lists the commands"
    return f"unknown command {name!r}; {hint}"


# What other programs call the commands.
_MEANT = {
    **dict.fromkeys(("train", "training", "run", "learn", "main"), "cifar-cnn fit"),
    **dict.fromkeys(("resume", "continue", "restart"), "cifar-cnn fit --ckpt_path last"),
    **dict.fromkeys(("eval", "evaluate", "evaluation", "score", "accuracy"), "cifar-cnn test"),
    **dict.fromkeys(("val", "valid", "validation"), "cifar-cnn validate"),
    **dict.fromkeys(("infer", "inference", "classify", "prediction"), "cifar-cnn predict"),
    **dict.fromkeys(("plot", "view", "visualize", "visualise"), "cifar-cnn report"),
    **dict.fromkeys(("onnx", "convert", "deploy"), "cifar-cnn export"),
    **dict.fromkeys(("benchmark", "seeds"), "cifar-cnn compare"),
    "version": "cifar-cnn --version",
    "help": "cifar-cnn --help",
}


def program(model: type) -> str:
    """What is typed to train a ``model``: ``cifar-cnn``, or Python and the script that has a class of its own."""
    path = os.path.abspath(sys.argv[0])
    is_script = os.path.basename(path) not in ("cifar-cnn", "cifar-cnn.exe") and not path.startswith(_PACKAGE)
    return f"python {shlex.quote(relative(path))}" if is_script and _is_own(model) else "cifar-cnn"


def _is_own(model: type) -> bool:
    return model.__module__.partition(".")[0] != "cifar_cnn"


def check_that_own_class_is_trained(args: list[str], model: type) -> None:
    """Refuse a comparison that would train other classes than the program that it is given to.

    Raises:
        InputError: ``compare`` has to train configs, and the program has a ``model`` of its own.
    """
    configs = [arg for arg in args if arg.endswith((".yaml", ".yml")) and os.path.isfile(arg)]
    if args[:1] == ["compare"] and configs and _is_own(model):
        raise InputError(
            f"compare would train {configs[0]} without the {model.__name__} of this program: train each config with  "
            f"{program(model)} fit --config FILE  and compare the folders of the runs"
        )

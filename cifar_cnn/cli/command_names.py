"""The names of the commands. Imports no large library, so that the help and a wrong name are answered at once."""

import os

from cifar_cnn.cli import suggestions
from cifar_cnn.errors import InputError
from cifar_cnn.process import is_own, program

TRAINING = ("fit", "validate", "test")  # methods of the Trainer
# Of cifar_cnn.cli.commands.
ANALYSES = ("predict", "report", "explain", "compare", "export", "runs", "show", "configs", "lab")
ALL = (*TRAINING, *ANALYSES)
LIGHT = ("lab",)  # those that need no torch in this process


def mistake(name: str | None) -> str | None:
    """Say in one line what is wrong with the first word of a command line; None for a command."""
    if name is None:
        return f"give a command: {', '.join(ALL)}; `cifar-cnn --help` says more"
    if name in ALL:
        return None
    if meant := _MEANT.get(name.lower()):
        return f"unknown command {name!r}: use {meant}"
    nearest = suggestions.similar(name, ALL, most=1)
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
    **dict.fromkeys(("exercises", "homework", "check", "start"), "cifar-cnn lab"),
    "version": "cifar-cnn --version",
    "help": "cifar-cnn --help",
}


def check_that_own_class_is_trained(args: list[str], model: type) -> None:
    """Reject a comparison that would train configs without the program's own class.

    Raises:
        InputError: ``compare`` has to train configs, and the program passes a ``model`` class of its own.
    """
    configs = [arg for arg in args if arg.endswith((".yaml", ".yml")) and os.path.isfile(arg)]
    if args[:1] == ["compare"] and configs and is_own(model):
        raise InputError(
            f"compare would train {configs[0]} without the {model.__name__} of this program: train each config with  "
            f"{program(model)} fit --config FILE  and compare the folders of the runs"
        )

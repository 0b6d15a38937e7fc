"""The names of the commands. Imports no large library, so that help and errors appear at once."""

import os

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.process import is_own, program
from cifar_cnn.cli import suggestions

TRAINING = ("fit", "validate", "test")  # methods of the Trainer
# Modules of cifar_cnn.cli.commands.
ANALYSES = ("predict", "report", "explain", "compare", "ensemble", "export", "runs", "show", "configs", "lab")
ALL = (*TRAINING, *ANALYSES)
LIGHT = ("lab",)  # need no torch in this process


def mistake(name: str | None) -> str | None:
    """Explain in one line why a word is not a command; None if it is one."""
    if name is None:
        return f"give a command: {', '.join(ALL)}; see `cifar-cnn --help`"
    if name in ALL:
        return None
    if meant := _MEANT.get(name.lower()):
        return f"unknown command {name!r}: use {meant}"
    nearest = suggestions.similar(name, ALL, most=1)
    hint = f"nearest: {nearest[0]}" if nearest else "`cifar-cnn --help` lists the commands"
    return f"unknown command {name!r}; {hint}"


# Names that other programs use for these commands.
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
    """Reject a comparison that would train configs without the model class of the user's program.

    Raises:
        InputError: the command is ``compare`` with configs, and ``model`` is a class of the user's program.
    """
    configs = [arg for arg in args if arg.endswith((".yaml", ".yml")) and os.path.isfile(arg)]
    if args[:1] == ["compare"] and configs and is_own(model):
        raise InputError(
            f"compare would train {configs[0]} without the {model.__name__} of this program: train each config with  "
            f"{program(model)} fit --config FILE  and compare the folders of the runs"
        )

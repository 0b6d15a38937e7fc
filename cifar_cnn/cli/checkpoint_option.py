"""The option ``--ckpt_path``: read the checkpoint and use its settings as defaults."""

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from cifar_cnn import distributed as processes
from cifar_cnn.base.errors import InputError
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.cli import foreign_run, model_class
from cifar_cnn.cli.configs import option_values
from cifar_cnn.data import CIFAR10DataModule
from cifar_cnn.resume.resumable import check_class
from cifar_cnn.runs import kept_code, trained_as
from cifar_cnn.runs.checkpoints import Checkpoint, check_network, read_checkpoint, read_to_resume
from cifar_cnn.runs.folders import RUNS, find_checkpoint
from cifar_cnn.trust import names as trust


def read(command: str, options: list[str]) -> Checkpoint | None:
    """Read the checkpoint that a command resumes, validates or tests; None for a new fit.

    This also restricts imports to the names that the checkpoint may use, and makes the processes that are started later
    use the same checkpoint.

    Args:
        command: ``fit``, ``validate`` or ``test``.
        options: the command line after the command.

    Raises:
        InputError: the checkpoint does not exist or is unreadable.
    """
    default = [] if command == "fit" else ["best"]
    names = [*default, *option_values(options, "--ckpt_path")]
    if not names or _given(options) & {"-h", "--help", "--print_config"}:
        return None
    root = Path([".", *option_values(options, "--trainer.default_root_dir")][-1], RUNS)
    path = processes.passed_on_checkpoint() or find_checkpoint(names[-1], root)
    checkpoint = read_to_resume(path) if command == "fit" else Checkpoint(path, read_checkpoint(path))
    trust.restrict_to(checkpoint.content)
    processes.pass_on_checkpoint(checkpoint.path)
    kept_code.compare(*checkpoint)
    return checkpoint


def trained_class(
    command: str, options: list[str], checkpoint: Checkpoint, model: type[ImageClassifier]
) -> type[ImageClassifier]:
    """The model class to load a checkpoint into.

    Args:
        command: ``fit``, ``validate`` or ``test``.
        options: the command line after the command.
        checkpoint: from :func:`read`.
        model: the class named by the options or the program; otherwise ImageClassifier.

    Returns:
        ``model``, or the class that was trained if neither options nor program name a class.

    Raises:
        InputError: the checkpoint cannot be used with this class.
    """
    if model is ImageClassifier and not any(model_class.named(options)):
        model = trained_as.classifier_class(checkpoint.content)
    if command == "fit":
        check_class(checkpoint, model)
    else:
        trained_as.fit_to(model, checkpoint.content)
    return model


def set_defaults(parser: ArgumentParser, command: str, checkpoint: Checkpoint, model: type[ImageClassifier]) -> None:
    """Use a checkpoint's settings as defaults of the parser; for ``validate`` and ``test``, also its precision.

    Raises:
        InputError: the settings contain a class that is not allowed or not installed, or an unknown option.
    """
    content = checkpoint.content
    try:
        trust.check(model, content["hyper_parameters"])
        trust.check(CIFAR10DataModule, content["datamodule_hyper_parameters"])
        check_network(model, content)
        parser.set_defaults(_trained_with(content["hyper_parameters"], foreign_run.images_of(checkpoint)))
    except Exception as error:  # jsonargparse raises several types
        raise InputError(
            f"{checkpoint.path} was trained with settings that cannot be used here: {trust.reason(error)}"
        ) from error
    if command != "fit" and (precision := content.get("precision")):
        parser.set_defaults({"trainer.precision": precision})


def _given(options: list[str]) -> set[str]:
    return {word.split("=")[0] for word in options}


def _trained_with(model: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a checkpoint's model and data module as command-line options."""
    return {
        f"{group}.{name}": value
        for group, values in {"model": model, "data": data}.items()
        for name, value in values.items()
        if name != "num_classes"
    }

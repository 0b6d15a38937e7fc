"""``--ckpt_path``: which checkpoint a command means, and the defaults that come with it."""

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from cifar_cnn import distributed as processes
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.cli import foreign_run, model_class
from cifar_cnn.cli.configs import option_values
from cifar_cnn.data import CIFAR10DataModule
from cifar_cnn.errors import InputError
from cifar_cnn.resume.resumable import check_class
from cifar_cnn.runs import kept_code, trained_as
from cifar_cnn.runs.checkpoints import Checkpoint, check_network, read_checkpoint, read_to_resume
from cifar_cnn.runs.folders import RUNS, find_checkpoint
from cifar_cnn.trust import names as trust


def read(command: str, options: list[str]) -> Checkpoint | None:
    """Read the checkpoint that a command resumes, validates or tests; None for a new fit.

    From then on, only names that the checkpoint may use are imported for it, and the processes that are started use
    the same checkpoint.

    Args:
        command: ``fit``, ``validate`` or ``test``.
        options: the words after the command.

    Raises:
        InputError: there is no such checkpoint, or it cannot be read.
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
    """The class of the model that a checkpoint is used with.

    Args:
        command: ``fit``, ``validate`` or ``test``.
        options: the words after the command.
        checkpoint: from :func:`read`.
        model: the class that the options or the program name, or ImageClassifier.

    Returns:
        ``model``, or where none was named the class that was trained.

    Raises:
        InputError: a fit cannot resume the checkpoint with this class.
    """
    if model is ImageClassifier and not any(model_class.named(options)):
        model = trained_as.classifier_class(checkpoint.content)
    if command == "fit":
        check_class(checkpoint, model)
    else:
        trained_as.fit_to(model, checkpoint.content)
    return model


def set_defaults(parser: ArgumentParser, command: str, checkpoint: Checkpoint, model: type[ImageClassifier]) -> None:
    """Make what a checkpoint was trained with the defaults of a parser, the precision too where nothing is trained.

    Raises:
        InputError: it was trained with a class that is not allowed or not installed, or with an unknown option.
    """
    content = checkpoint.content
    try:
        trust.check(model, content["hyper_parameters"])
        trust.check(CIFAR10DataModule, content["datamodule_hyper_parameters"])
        check_network(model, content)
        parser.set_defaults(_trained_with(content["hyper_parameters"], foreign_run.images_of(checkpoint)))
    except Exception as error:  # jsonargparse raises several types
        raise InputError(
            f"{checkpoint.path} was trained with parts that cannot be used here: {trust.reason(error)}"
        ) from error
    if command != "fit" and (precision := content.get("precision")):
        parser.set_defaults({"trainer.precision": precision})


def _given(options: list[str]) -> set[str]:
    return {word.split("=")[0] for word in options}


def _trained_with(model: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a checkpoint's model and data module, as options of the command line."""
    return {
        f"{group}.{name}": value
        for group, values in {"model": model, "data": data}.items()
        for name, value in values.items()
        if name != "num_classes"
    }

"""Check that a run can be resumed from a checkpoint before any file is written."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelPruning, StochasticWeightAveraging

from cifar_cnn import distributed as processes
from cifar_cnn.base.errors import InputError
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.runs import trained_as
from cifar_cnn.runs.checkpoints import Checkpoint
from cifar_cnn.runs.contents import load_weights
from cifar_cnn.trust import names as trust

log = logging.getLogger("cifar_cnn")


def check_resumable(checkpoint: Checkpoint, model: pl.LightningModule, callbacks: Iterable[pl.Callback]) -> None:
    """Load the weights of a checkpoint into a model, and warn about callbacks that do not resume exactly.

    Raises:
        InputError: the checkpoint was trained with another class, optimizer, schedule or network.
    """
    check_class(checkpoint, type(model))
    if isinstance(model, ImageClassifier):
        check_same(checkpoint, model.hparams)
    load_weights(model, checkpoint.content)  # early, so that a failure leaves no files behind
    for inexact in (type(each).__name__ for each in callbacks if processes.prints_messages() and not is_exact(each)):
        log.warning(
            "A run with %s does not resume exactly: its result differs from that of an uninterrupted run.", inexact
        )


def is_exact(callback: pl.Callback) -> bool:
    """Whether a resumed run with this callback gives the same result as an uninterrupted run."""
    return not isinstance(callback, (ModelPruning, StochasticWeightAveraging))


def check_class(checkpoint: Checkpoint, cls: type[pl.LightningModule]) -> None:
    """Reject a checkpoint of a model of another class."""
    path = str(checkpoint.content.get("model", trained_as.PLAIN))
    trained = path.rpartition(".")[2]
    if trained != cls.__name__:
        raise InputError(
            f"{checkpoint.path} was trained as {trained!r:.60} and cannot be resumed as {cls.__name__!r}: "
            f"{_how_to_resume(path, checkpoint.content)}"
        )


def _how_to_resume(path: str, content: Mapping[str, Any]) -> str:
    if path.startswith("__main__.") or path == trained_as.PLAIN:
        return "resume it with the program that trained it"
    if not trust.may_import(path, content):
        return f"if you trust its code, set the environment variable {trust.VARIABLE}={trust.package(path):.60}"
    return f"name the class, with --model {path:.100}"


def check_same(checkpoint: Checkpoint, given: Mapping[str, Any]) -> None:
    """Reject another optimizer or schedule, because the state in the checkpoint would silently override it.

    Args:
        checkpoint: the checkpoint to resume from.
        given: hyper-parameters of the model as plain data; those missing on either side are not compared.
    """
    saved = checkpoint.content["hyper_parameters"]
    known = [
        name for name in ("optimizer", "schedule_interval", "decay_bias_and_norm") if name in saved and name in given
    ]
    changed = [name for name in known if saved[name] != given[name]]
    if "schedule" in saved and "schedule" in given and _class_path(saved) != _class_path(given):
        changed.append("schedule")
    if changed:
        raise InputError(
            f"{checkpoint.path} was trained with a different model.{changed[0]} ({saved.get(changed[0])}): resume "
            "with the same one, or start a new run without --ckpt_path"
        )


def _class_path(config: Mapping[str, Any]) -> Any:
    value = config.get("schedule")
    return value.get("class_path") if isinstance(value, Mapping) else value

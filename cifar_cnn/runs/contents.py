"""This project's entries in a checkpoint, and the check that its weights fit a model.

- ``model``: class path of the classifier
- ``precision``: precision of the Trainer; test and predict use it too
- ``first_step``: the step as loggers count it
- ``not_recorded``: why an argument is missing in ``hyper_parameters``

All are optional, so that checkpoints of Lightning's own Trainer can be used.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer

from cifar_cnn.base.errors import InputError
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.parts import record_known
from cifar_cnn.parts.class_weights import names_of_weights


def class_path(cls: type) -> str:
    """The import path of a class, as stored in checkpoints."""
    return f"{cls.__module__}.{cls.__qualname__}"


def add_contents(checkpoint: dict[str, Any], trainer: Trainer, model: ImageClassifier) -> None:
    """Add this project's entries to a checkpoint that Lightning is about to save."""
    checkpoint["model"] = class_path(type(model))
    checkpoint["precision"] = str(trainer.precision)
    checkpoint["first_step"] = _steps_taken(trainer, model)
    checkpoint["not_recorded"] = model.not_recorded
    # This is plain data already, unless a subclass has added other objects.
    for key in (model.CHECKPOINT_HYPER_PARAMS_KEY, LightningDataModule.CHECKPOINT_HYPER_PARAMS_KEY):
        if key in checkpoint:
            checkpoint[key], _ = record_known(checkpoint[key])


def _steps_taken(trainer: Trainer, model: ImageClassifier) -> int:
    """The number of steps as loggers count them: one per batch, even with several optimizers."""
    if model.automatic_optimization:
        return trainer.global_step
    return trainer.fit_loop.epoch_loop.batch_progress.total.ready  # gradients are not accumulated then


def load_weights(model: LightningModule, content: Mapping[str, Any]) -> None:
    """Load the weights of a checkpoint into a model.

    Raises:
        InputError: see :func:`check_weights`.
    """
    check_weights(model, content)
    model.load_state_dict(content["state_dict"], strict=model.strict_loading)


def check_weights(model: LightningModule, content: Mapping[str, Any]) -> None:
    """Check that the weights of a checkpoint fit a model.

    If the checkpoint was trained as another class, the weights of that class's other parts, such as a teacher, are
    ignored, here and when Lightning loads them.

    Raises:
        InputError: the weights belong to another network.
    """
    own, given = model.state_dict(), content["state_dict"]
    extra = [name for name in given if name not in own and name not in names_of_weights(model)]
    if content.get("model") != class_path(type(model)):
        further = [name for name in extra if not name.startswith("backbone.")]
        extra = [name for name in extra if name.startswith("backbone.")]
        model.strict_loading = not further
    missing = [name for name in own if name not in given]
    resized = [name for name in own if name in given and own[name].shape != given[name].shape]
    if resized:
        sizes = [", ".join(map(str, weights[resized[0]].shape)) for weights in (given, own)]
        detail = f"{resized[0]} has shape ({sizes[0]}) in the checkpoint and ({sizes[1]}) here"
    elif missing or extra:
        detail = f"it lacks {missing[0]}" if missing else f"it has {extra[0]}, which this network lacks"
    else:
        return
    network = type(getattr(model, "backbone", model)).__name__
    raise InputError(
        f"the checkpoint's weights do not fit this {network} ({detail.replace('backbone.', '')}); remove "
        "--config and --model options to use the trained network"
    )


def check_weights_of(model: LightningModule | None, path: Any) -> None:
    """Apply :func:`check_weights` to the checkpoint at ``path``, if there is a readable one.

    Raises:
        InputError: see :func:`check_weights`.
    """
    if model is None or not isinstance(path, (str, os.PathLike)) or not Path(path).is_file():
        return
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # a damaged file; Lightning reports it
        return
    if isinstance(content, Mapping) and "state_dict" in content:
        check_weights(model, content)

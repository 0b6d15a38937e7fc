"""Reject callbacks of Lightning that cannot work with this project, before the run folder is created."""

from collections.abc import Iterable

import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import (
    BaseFinetuning,
    BatchSizeFinder,
    LearningRateFinder,
    ModelPruning,
    ProgressBar,
    SpikeDetection,
)

from cifar_cnn.base.errors import InputError
from cifar_cnn.classifier import ImageClassifier


def check_given(callbacks: Iterable[Callback], model: ImageClassifier) -> None:
    """Check the callbacks of a config, and fix those that Lightning cannot resume.

    Args:
        callbacks: the callbacks, without the finders that :func:`cifar_cnn.tuning.tune` has removed.
        model: the model that they are used with.

    Raises:
        InputError: one of them cannot work.
    """
    for callback in callbacks:
        name = type(callback).__name__
        if type(callback) in (BaseFinetuning, ProgressBar):
            raise InputError(f"trainer.callbacks: {name} is a base class; give the import path of a subclass")
        if isinstance(callback, (BatchSizeFinder, LearningRateFinder)):
            raise InputError(
                f"trainer.callbacks: {name} is supported only in fit, and only as the class itself, not as a subclass"
            )
        if type(callback) is ModelPruning:
            raise InputError(
                "trainer.callbacks: config.yaml cannot record the pruning_fn of ModelPruning; give the import path of "
                "a subclass that sets it"
            )
        if isinstance(callback, SpikeDetection) and not hasattr(callback, "running"):
            # Lightning's load_state_dict uses ``running``, all other methods ``running_mean`` (checked with 2.6).
            callback.running = callback.running_mean  # type: ignore[attr-defined]
        if isinstance(callback, ModelPruning) and model.memory_format == torch.channels_last:
            raise InputError(
                f"trainer.callbacks: {name} needs weights in PyTorch's default memory layout: add "
                "--model.channels_last false"
            )

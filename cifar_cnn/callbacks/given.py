"""Reject the Lightning callbacks that cannot work here, before the run has a folder."""

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

from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.errors import InputError


def check_given(callbacks: Iterable[Callback], model: ImageClassifier) -> None:
    """Check the callbacks of a config, and repair those that Lightning cannot resume.

    Args:
        callbacks: without those that the fit has taken off, see :func:`cifar_cnn.tuning.tune`.
        model: that they are for.

    Raises:
        InputError: one of them cannot work.
    """
    for callback in callbacks:
        name = type(callback).__name__
        if type(callback) in (BaseFinetuning, ProgressBar):
            raise InputError(f"trainer.callbacks: {name} is a base class: give the import path of a subclass")
        if isinstance(callback, (BatchSizeFinder, LearningRateFinder)):
            raise InputError(f"trainer.callbacks: {name} works in fit alone, and not as a subclass of Lightning's")
        if type(callback) is ModelPruning:
            raise InputError(
                "trainer.callbacks: config.yaml cannot hold the pruning_fn of ModelPruning: give the import path of a "
                "subclass that sets it"
            )
        if isinstance(callback, SpikeDetection) and not hasattr(callback, "running"):
            # Lightning's load_state_dict calls it so, all the rest of the class running_mean (checked with 2.6).
            callback.running = callback.running_mean  # type: ignore[attr-defined]
        if isinstance(callback, ModelPruning) and model.memory_format == torch.channels_last:
            raise InputError(
                f"trainer.callbacks: {name} needs PyTorch's layout of weights: add --model.channels_last false"
            )

"""Pass the number of training images of each class to the loss."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from cifar_cnn.base.errors import InputError
from cifar_cnn.data.module import CIFAR10DataModule


class ClassCounts(Callback):
    """Calls ``set_class_counts(counts)`` of a loss that has this method, before the first step.

    ``counts``, int64 of shape (num_classes,), counts the training labels, including label noise.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        loss: Any = getattr(pl_module, "loss", None)
        if stage != "fit" or not hasattr(loss, "set_class_counts") or not getattr(loss, "balanced", True):
            return
        datamodule = getattr(trainer, "datamodule", None)
        if not isinstance(datamodule, CIFAR10DataModule):
            raise InputError(f"{type(loss).__name__} takes the class counts from a CIFAR10DataModule: train with one")
        labels = datamodule.image_set("train").labels
        loss.set_class_counts(labels.bincount(minlength=datamodule.num_classes).to(pl_module.device))

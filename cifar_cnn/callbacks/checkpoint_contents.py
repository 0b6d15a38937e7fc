"""Add this project's entries to each checkpoint."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.runs.contents import add_contents


class CheckpointContents(Callback):
    """Adds the entries that test, predict and resumed runs need; see :mod:`cifar_cnn.runs.contents`."""

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if isinstance(pl_module, ImageClassifier):
            add_contents(checkpoint, trainer, pl_module)

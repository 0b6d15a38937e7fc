"""What a checkpoint of this project holds beside Lightning's own entries."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.runs.contents import add_contents


class CheckpointContents(Callback):
    """Adds what test, predict and a resumed run need to know about the training; see :mod:`cifar_cnn.runs.contents`."""

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add it."""
        if isinstance(pl_module, ImageClassifier):
            add_contents(checkpoint, trainer, pl_module)

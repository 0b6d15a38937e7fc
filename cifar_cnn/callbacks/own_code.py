"""Which own code a run was trained with, for its checkpoints."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from cifar_cnn import trust


class OwnCode(Callback):
    """Keeps in the checkpoints the packages that the user has named, signed: see :mod:`cifar_cnn.trust`.

    Args:
        config: of the run.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self._signature = trust.signature(config)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Put them in."""
        if self._signature is not None:
            checkpoint[trust.KEY] = self._signature

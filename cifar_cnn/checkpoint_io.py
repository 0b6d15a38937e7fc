"""How a checkpoint gets onto the disk."""

import logging
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.fabric.utilities.types import _PATH

from cifar_cnn.files import replacing

log = logging.getLogger("cifar_cnn")


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint as a whole or not at all.

    Lightning's own goes through a temporary folder, which may lie on another disk, and does not wait for the disk.

    A checkpoint that cannot be written (a full disk, a folder that is gone) is reported and not raised: under several
    processes one alone would raise, and the others wait for it for good.

    Attributes:
        failure: why the newest checkpoint was not written, None where it was.
    """

    failure: str | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any = None) -> None:
        """Write under a name of its own, wait for the disk, then rename."""
        if storage_options is not None:
            raise TypeError("AtomicCheckpointIO takes no storage_options")
        self.failure = None
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing(target) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:  # RuntimeError: what torch.save makes of a write that fails
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
            self.failure = reason
            log.error("A CHECKPOINT COULD NOT BE WRITTEN: %s: %s", target, reason)

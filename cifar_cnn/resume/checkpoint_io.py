"""How a checkpoint gets onto the disk."""

import logging
from pathlib import Path
from typing import IO, Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO

from cifar_cnn.files import replacing

log = logging.getLogger("cifar_cnn")


class _Stream:
    """A file to write to that keeps the system's reason why it could not be."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.flush = file.flush
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint as a whole or not at all.

    Lightning's own goes through a temporary folder, which may lie on another disk, and does not wait for the disk.

    A checkpoint that cannot be written (a full disk, a folder that is gone) is reported and not raised: under several
    processes one alone would raise, and the others wait for it for good.

    Attributes:
        failure: why the newest checkpoint was not written, None where it was.
    """

    failure: str | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write under a name of its own, wait for the disk, then rename."""
        if storage_options is not None:
            raise TypeError("AtomicCheckpointIO takes no storage_options")
        self.failure = None
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing(target) as file:
                stream = _Stream(file)
                try:
                    torch.save(checkpoint, stream)  # type: ignore[arg-type]  # it needs write and flush alone
                except RuntimeError as error:  # what torch.save makes of a write that fails
                    raise stream.error or error from error
        except (OSError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
            self.failure = reason
            log.error("A CHECKPOINT COULD NOT BE WRITTEN: %s: %s", target, reason)

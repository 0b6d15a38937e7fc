"""Write checkpoints atomically."""

import logging
from pathlib import Path
from typing import IO, Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO

from cifar_cnn.base.files import replacing

log = logging.getLogger("cifar_cnn")


class _Stream:
    """A file that remembers the operating system's error when a write fails."""

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
    """Writes each checkpoint completely or not at all.

    Lightning writes through a temporary folder, which may be on another disk, and does not flush to the disk.

    A failed write (full disk, deleted folder) is logged and not raised: with several processes, only one would raise,
    and the others would wait for it forever.

    Attributes:
        failure: the reason why the latest checkpoint was not written; None if it was written.
    """

    failure: str | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write to a temporary name, flush to the disk, then rename."""
        if storage_options is not None:
            raise TypeError("AtomicCheckpointIO takes no storage_options")
        self.failure = None
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing(target) as file:
                stream = _Stream(file)
                try:
                    torch.save(checkpoint, stream)  # type: ignore[arg-type]  # it only needs write and flush
                except RuntimeError as error:  # torch.save hides the OSError of a failed write
                    raise stream.error or error from error
        except (OSError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
            self.failure = reason
            log.error("CHECKPOINT NOT WRITTEN: %s: %s", target, reason)

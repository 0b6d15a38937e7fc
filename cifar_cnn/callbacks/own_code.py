"""Keep the user's own code with the checkpoints and in the run's folder."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from cifar_cnn.trust import names as trust
from cifar_cnn.trust import user_code


class OwnCode(Callback):
    """Keeps the packages that the user has named in the checkpoints, signed, and a copy of their files in ``code``.

    See :mod:`cifar_cnn.trust.names` and :mod:`cifar_cnn.trust.user_code`.

    Args:
        config: of the run; with import paths that it does not hold, in any form.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self._files = user_code.own_files(trust.import_paths(config))
        self._sums = user_code.digests(self._files)
        self._signature = trust.signature(config, self._sums)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Copy the files, in process 0.

        Raises:
            OSError: they cannot be written.
        """
        folder = trainer.log_dir if stage == "fit" and trainer.loggers else None  # a broadcast: every process must ask
        if folder and trainer.is_global_zero:
            user_code.keep(Path(folder), self._files, self._sums)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the signed names of the packages."""
        if self._signature is not None:
            checkpoint[trust.KEY] = self._signature

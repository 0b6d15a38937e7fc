"""Copy the user's own code into the run's folder and record its hashes in the checkpoints."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from cifar_cnn.resume.loops import run_folder
from cifar_cnn.trust import names as trust
from cifar_cnn.trust import ownership, user_code


class OwnCode(Callback):
    """Signs the checkpoints with the packages that the user has named, and copies their files to ``code``.

    See :mod:`cifar_cnn.trust.ownership` and :mod:`cifar_cnn.trust.user_code`.

    Args:
        config: the config of the run, and any import paths that it lacks.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self._files = user_code.own_files(trust.import_paths(config))
        self._sums = user_code.digests(self._files)
        self._packages = trust.own_packages(config)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Copy the files, on rank 0.

        Raises:
            OSError: the files cannot be written.
        """
        folder = run_folder(trainer) if stage == "fit" else None
        if folder is not None and trainer.is_global_zero:
            user_code.keep(folder, self._files, self._sums)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        ownership.sign(checkpoint, self._packages, self._sums)

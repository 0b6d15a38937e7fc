"""Write a run's config.yaml."""

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback

from cifar_cnn.base.files import write
from cifar_cnn.runs.tracking import add_ids
from cifar_cnn.trust import ownership


class SaveConfig(SaveConfigCallback):
    """Writes ``config.yaml`` atomically, so that a run resumed on a full disk does not lose its config.

    The loggers of tracking services are written with the id of their record, which a resumed run and a test continue.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["save_to_log_dir"] = False  # Lightning would not write atomically
        super().__init__(*args, **kwargs)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the run folder, if there is one; all ranks must call this, since it broadcasts."""
        if trainer.loggers:
            self._folder = trainer.log_dir
            super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        assert self._folder is not None
        folder = Path(self._folder)
        folder.mkdir(parents=True, exist_ok=True)
        add_ids(self.config.get("trainer.logger"), trainer.loggers)
        text = self.parser.dump(self.config, skip_none=False)
        write(folder / self.config_filename, ownership.signed_text(text))

"""Which checkpoints a run keeps."""

from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


class RunCheckpoint(ModelCheckpoint):
    """Keeps ``checkpoints/best.ckpt``, of the best validation accuracy, and ``checkpoints/last.ckpt``.

    Without validation images the best is the last.

    Args:
        monitor: the logged value that ``best`` goes by.
        mode: whether its ``max`` or ``min`` is best.
        every_n_epochs: epochs from one checkpoint to the next.
    """

    CHECKPOINT_NAME_LAST = "last"

    def __init__(self, monitor: str = "val/accuracy", mode: str = "max", every_n_epochs: int = 1) -> None:
        super().__init__(
            filename="best",
            monitor=monitor,
            mode=mode,
            every_n_epochs=every_n_epochs,
            save_last=True,
            enable_version_counter=False,
            auto_insert_metric_name=False,
        )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the run's folder and whether there is anything to monitor."""
        datamodule = getattr(trainer, "datamodule", None)
        if stage == "fit" and self.monitor and datamodule is not None and not datamodule.val_dataloader():
            self.monitor = None
        if stage == "fit" and trainer.loggers and self.dirpath is None:
            self.dirpath = str(Path(trainer.log_dir or ".", "checkpoints"))
        super().setup(trainer, pl_module, stage)

"""Which checkpoints a run keeps: its best and its last."""

import os
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


class RunCheckpoint(ModelCheckpoint):
    """One file in the run's folder ``checkpoints``, written at the end of an epoch in place of the one before.

    Args:
        filename: without ``.ckpt``.
        monitor: the logged value that must be better than before; None writes each time.
        mode: whether its ``max`` or ``min`` is better.
    """

    def __init__(self, filename: str, monitor: str | None = None, mode: str = "max") -> None:
        super().__init__(
            filename=filename,
            monitor=monitor,
            mode=mode,
            enable_version_counter=False,
            auto_insert_metric_name=False,
            # With all of the epoch's values logged, so that a run that goes on repeats none of them.
            save_on_train_epoch_end=True,
        )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the run's folder."""
        if stage != "fit":
            return
        if trainer.loggers and self.dirpath is None:
            self.dirpath = os.path.abspath(os.path.join(trainer.log_dir or ".", "checkpoints"))
        super().setup(trainer, pl_module, stage)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the best of the run so far, also when its folder has been moved."""

        def here(path: str) -> str:
            return os.path.join(self.dirpath or "", os.path.basename(path)) if path else path

        paths = {name: here(state_dict[name]) for name in ("best_model_path", "kth_best_model_path", "last_model_path")}
        best_k = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **paths, "best_k_models": best_k, "dirpath": self.dirpath})


class BestCheckpoint(RunCheckpoint):
    """``checkpoints/best.ckpt``: of the best validation accuracy; the last where there are no validation images.

    Args:
        monitor: the logged value that ``best`` goes by.
        mode: whether its ``max`` or ``min`` is best.
    """

    def __init__(self, monitor: str = "val/accuracy", mode: str = "max") -> None:
        super().__init__("best", monitor, mode)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the run's folder, and whether there is anything to monitor."""
        datamodule = getattr(trainer, "datamodule", None)
        none = trainer.limit_val_batches == 0 or (datamodule is not None and not datamodule.val_dataloader())
        if stage == "fit" and none:
            self.monitor = None
        super().setup(trainer, pl_module, stage)


class LastCheckpoint(RunCheckpoint):
    """``checkpoints/last.ckpt``: to go on from.

    Apart from the best, since Lightning's ``save_last`` writes only when a new best is written.
    """

    def __init__(self) -> None:
        super().__init__("last")


def best_checkpoint(trainer: Trainer) -> BestCheckpoint | None:
    """The callback that keeps the best of this trainer's run."""
    return next((each for each in trainer.checkpoint_callbacks if isinstance(each, BestCheckpoint)), None)

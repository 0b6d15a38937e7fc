"""Facts about a Trainer: where it writes, which images its loops see, and which epoch it is."""

from pathlib import Path
from typing import Literal

import lightning.pytorch as pl

from cifar_cnn.data.batches import EvalBatches


def run_folder(trainer: pl.Trainer) -> Path | None:
    """The folder of the run; None for a run without a folder. All ranks must call this, since it broadcasts."""
    folder = trainer.log_dir if trainer.loggers else None
    return Path(folder) if folder else None


def validates(trainer: pl.Trainer) -> bool:
    """Whether a fit of this trainer has validation images."""
    datamodule = getattr(trainer, "datamodule", None)
    return trainer.limit_val_batches != 0 and (datamodule is None or bool(datamodule.val_dataloader()))


def overfits(trainer: pl.Trainer) -> bool:
    """Whether a fit validates on its training batches (``overfit_batches``)."""
    return bool(trainer.overfit_batches)  # type: ignore[attr-defined]


def images_evaluated(trainer: pl.Trainer, split: Literal["val", "test"]) -> tuple[int, int]:
    """The number of images that a validation or test of this trainer uses, and the number of all images.

    They differ with ``limit_val_batches`` and ``limit_test_batches``. Both are 0 before the first validation or test.
    """
    batches = trainer.val_dataloaders if split == "val" else trainer.test_dataloaders
    if not isinstance(batches, EvalBatches):
        return 0, 0
    (number,) = trainer.num_val_batches if split == "val" else trainer.num_test_batches
    images = len(batches.image_set)
    return min(int(number) * batches.batch_size * batches.world_size, images), images


def epoch_of(trainer: pl.Trainer, epoch: int) -> str:
    """An epoch, counted from 1, and the total number of epochs if it is known, such as ``3/10``."""
    total = trainer.max_epochs
    return f"{epoch}/{total}" if total is not None and total > 0 else str(epoch)

"""The folder of a fit: a new one, or that of the run that is resumed."""

import os
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loggers import Logger

from cifar_cnn.paths import relative
from cifar_cnn.resume.resumable import check_resumable
from cifar_cnn.runs.checkpoints import Checkpoint, read_to_resume
from cifar_cnn.runs.folders import RUNS, find_checkpoint, new_run_folder, run_of
from cifar_cnn.runs.loggers import brings_a_folder, run_loggers


def checkpoint_to_resume(trainer: pl.Trainer, model: pl.LightningModule, ckpt_path: Any) -> Checkpoint | None:
    """Read and check the checkpoint to resume from, before anything is written; None for a new run.

    Args:
        trainer: that will resume the run.
        model: gets the weights of the checkpoint.
        ckpt_path: a path, ``last``, a checkpoint that has been read, or None.

    Raises:
        InputError: there is no such checkpoint, or this model cannot resume it.
    """
    if ckpt_path is None:
        return None
    if not isinstance(ckpt_path, Checkpoint):
        root = relative(Path(trainer.default_root_dir, RUNS))
        ckpt_path = read_to_resume(find_checkpoint(os.fspath(ckpt_path), root))
    check_resumable(ckpt_path, model, trainer.callbacks)  # type: ignore[attr-defined]
    return ckpt_path


def open_folder(
    root: str, given: list[Logger], checkpoint: Checkpoint | None, is_rank_zero: bool
) -> tuple[list[Logger], Path | None]:
    """Make the folder of a new run, or find that of the resumed one.

    Args:
        root: of the folder ``lightning_logs``.
        given: loggers of the user; the first may bring a folder of its own.
        checkpoint: that the run is resumed from.
        is_rank_zero: other ranks make no folder; Lightning tells them that of rank 0.

    Returns:
        The loggers, which write into the folder, and the folder if it is a new one.
    """
    folder = run_of(checkpoint.path) if checkpoint else None
    new = None
    if folder is None and not brings_a_folder(given):
        runs = Path(relative(root), RUNS)
        # Resolved, as a resumed run finds it: a ModelCheckpoint whose folder has another name forgets what it has kept.
        new = new_run_folder(runs).resolve() if is_rank_zero else None
        folder = new or runs / "version_of_process_0"
    return run_loggers(given, folder, int(checkpoint.content["first_step"]) if checkpoint else 0), new

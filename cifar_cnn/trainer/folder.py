"""Create the folder of a new run, or find that of a resumed one."""

import os
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loggers import Logger

from cifar_cnn.base.paths import relative
from cifar_cnn.resume.resumable import check_resumable
from cifar_cnn.runs.checkpoints import Checkpoint, read_to_resume
from cifar_cnn.runs.folders import RUNS, find_checkpoint, new_run_folder, run_of
from cifar_cnn.runs.loggers import brings_a_folder, run_loggers


def checkpoint_to_resume(trainer: pl.Trainer, model: pl.LightningModule, ckpt_path: Any) -> Checkpoint | None:
    """Read and check the checkpoint to resume from, before anything is written; None for a new run.

    Args:
        trainer: the Trainer that resumes the run.
        model: receives the weights of the checkpoint.
        ckpt_path: a path, ``last``, a loaded checkpoint, or None.

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
    """Create the folder of a new run, or find that of the resumed one.

    Args:
        root: the folder that holds ``lightning_logs``.
        given: the user's loggers; the first may determine the folder.
        checkpoint: the checkpoint that the run is resumed from, if any.
        is_rank_zero: only rank 0 creates a folder; Lightning sends its path to the others.

    Returns:
        The loggers, which write into the folder, and the folder if it is new.
    """
    folder = run_of(checkpoint.path) if checkpoint else None
    new = None
    if folder is None and not brings_a_folder(given):
        runs = Path(relative(root), RUNS)
        # Resolved, as in a resumed run: a ModelCheckpoint discards its state if the name of its folder changes.
        new = new_run_folder(runs).resolve() if is_rank_zero else None
        folder = new or runs / "version_of_process_0"
    return run_loggers(given, folder, int(checkpoint.content["first_step"]) if checkpoint else 0), new

"""The start and the end of a fit: layer table, choice of the best checkpoint, and report."""

import logging
import os
from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, WeightAveraging
from lightning.pytorch.utilities.model_summary import summarize
from torch import nn

from cifar_cnn.analysis.network.summary import summary
from cifar_cnn.analysis.report import try_to_write_report
from cifar_cnn.base.paths import relative
from cifar_cnn.callbacks.summary import RunSummary
from cifar_cnn.data import CIFAR10DataModule
from cifar_cnn.resume.checkpoints import best_checkpoint

log = logging.getLogger("cifar_cnn")


def layer_table(model: pl.LightningModule, datamodule: pl.LightningDataModule | None) -> str:
    """The layers of a model as a table; Lightning's own for other data modules, whose image size is unknown."""
    if not isinstance(datamodule, CIFAR10DataModule):
        return str(summarize(model))
    datamodule.prepare_data()
    datamodule.setup("fit")
    channels, height, width = datamodule.train_images.shape[1:]
    return summary(model, (channels, height, width)).short()


def summary_of(trainer: pl.Trainer) -> RunSummary | None:
    """The callback that prints the results of this trainer."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return next((each for each in callbacks if isinstance(each, RunSummary)), None)


def path_of_best(trainer: pl.Trainer) -> str:
    """The path of the best checkpoint; empty, with a warning, if the file is missing."""
    best = best_checkpoint(trainer)
    path = best.best_model_path if best else ""
    if path and not trainer.strategy.broadcast(os.path.isfile(path)):
        log.warning("%s no longer exists: skipping its test and report.", relative(path))
        return ""
    return path


def drop_weight_averaging(trainer: pl.Trainer) -> None:
    """Remove weight averaging callbacks: in a test, they would load the training weights instead of the averages."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    callbacks[:] = [each for each in callbacks if not isinstance(each, WeightAveraging)]


def write_report(
    trainer: pl.Trainer, run: Path, datamodule: pl.LightningDataModule | None, backbone: nn.Module | None
) -> None:
    """Write report.html into a run's folder, on rank 0, and print its path."""
    if trainer.is_global_zero and isinstance(datamodule, CIFAR10DataModule):
        path = try_to_write_report(run, datamodule, backbone)
        if path is not None:
            print(f"{'Report':<11} {relative(path)}")

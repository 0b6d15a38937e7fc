"""Write the graph, hyper-parameters and confusion matrix of a run for TensorBoard."""

import logging
import os
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.compat.proto import event_pb2

from cifar_cnn.callbacks.confusion_figure import draw_confusion
from cifar_cnn.callbacks.tensorboard_graph import network_graph
from cifar_cnn.resume.checkpoints import best_checkpoint
from cifar_cnn.runs.results import ResultFiles

log = logging.getLogger("cifar_cnn")


class TensorBoardPages(Callback):
    """Writes graph and hyper-parameters at the end of a fit, and the confusion matrix at the end of a test.

    Nothing is written during training, so training cannot be affected. The hyper-parameters are shown with the best
    validation accuracy (``hp/val_accuracy``). The confusion matrix (``test/confusion_matrix``) is written only for a
    test of a run's best checkpoint on all of its own test images, and only if the run has TensorBoard events.

    Args:
        files: chooses the file of a test.
    """

    def __init__(self, files: ResultFiles | None = None) -> None:
        super().__init__()
        self.files = files or ResultFiles()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for logger in trainer.loggers if trainer.is_global_zero else ():
            if isinstance(logger, TensorBoardLogger):
                try:
                    _write_hyper_parameters(logger, trainer)
                    _write_graph(logger, trainer, pl_module)
                except OSError as error:
                    log.warning("TensorBoard's pages could not be written: %s", error)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        counts = getattr(pl_module, "test_results", {}).get("test/confusion_matrix")
        if counts is None or not trainer.is_global_zero:
            return
        image_set = trainer.test_dataloaders.image_set  # type: ignore[union-attr]
        written = self.files.path(trainer, ".json", image_set, int(counts.sum()))
        if written is None or written.name != "test.json" or not list(written.parent.glob("events.out.tfevents.*")):
            return
        from torch.utils.tensorboard import SummaryWriter

        names = trainer.datamodule.class_names  # type: ignore[attr-defined]
        pixels = draw_confusion(counts.cpu().numpy(), names).pixels()
        try:
            with SummaryWriter(os.fspath(written.parent)) as writer:
                writer.add_image("test/confusion_matrix", pixels, trainer.global_step, dataformats="HWC")
        except OSError as error:
            log.warning("TensorBoard's confusion matrix could not be written: %s", error)


def _write_hyper_parameters(logger: TensorBoardLogger, trainer: Trainer) -> None:
    best = best_checkpoint(trainer)
    score = best.best_model_score if best and best.monitor == "val/accuracy" else None
    if score is None:
        score = trainer.callback_metrics.get("val/accuracy")
    seed = os.environ.get("PL_GLOBAL_SEED")
    parameters: dict[str, Any] = {
        **logger.hparams,
        "seed": int(seed) if seed else None,
        "max_epochs": trainer.max_epochs,
        "precision": str(trainer.precision),
    }
    logger.log_hyperparams(parameters, {"hp/val_accuracy": float(score)} if score is not None else None)


def _write_graph(logger: TensorBoardLogger, trainer: Trainer, pl_module: LightningModule) -> None:
    backbone = getattr(pl_module, "backbone", None)
    datamodule = getattr(trainer, "datamodule", None)
    if backbone is None or datamodule is None:
        return
    shape = datamodule.train_images.shape[1:]
    image = torch.zeros(1, *shape, device=pl_module.device, dtype=pl_module.dtype)  # type: ignore[arg-type]
    training = backbone.training
    try:
        with torch.no_grad():
            graph = network_graph(backbone.eval(), image)
    except Exception as error:  # some networks cannot be traced
        log.info("TensorBoard shows no graph of %s: %s", type(backbone).__name__, type(error).__name__)
        return
    finally:
        backbone.train(training)
    logger.experiment._get_file_writer().add_event(event_pb2.Event(graph_def=graph.SerializeToString()))

"""Pictures of the filters of the first and the last convolution during training (lab exercise 7)."""

import logging
from pathlib import Path

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image
from torch import Tensor, nn

from cifar_cnn.base.errors import InputError
from cifar_cnn.callbacks.filter_figure import draw_filters
from cifar_cnn.resume.loops import run_folder
from cifar_cnn.runs.tracking import log_picture

log = logging.getLogger("cifar_cnn")


class FilterImages(Callback):
    """Draw the filters of the first and the last convolution into the run's folder and for its loggers.

    Pictures are drawn before the first step, after every n-th epoch and at the end of the fit. They are written to
    ``<trainer.log_dir>/filters/`` as ``epoch_005_first.png`` and ``epoch_005_last.png``, numbered by finished epochs
    (000: before training). Loggers that take pictures (TensorBoard, Weights & Biases, MLflow, Comet, Aim) also log them
    as ``filters/first`` and ``filters/last`` at the global step. The convolutions are the 4-D parameters of
    ``pl_module.backbone`` (of the module itself if it has no backbone) in the order of ``named_parameters()``.

    A run without a folder (no logger, or ``fast_dev_run``) gets no pictures. A resumed run does not overwrite the
    picture of the epoch it starts from. If a picture cannot be written, one warning is logged and training continues.

    Args:
        every_n_epochs: number of epochs between pictures; 0 draws only at the start and at the end.
        max_filters: maximum number of filters drawn, and of input channels drawn for each filter.
        enabled: False disables the callback without removing it from the config.
    """

    def __init__(self, every_n_epochs: int = 5, max_filters: int = 8, enabled: bool = True) -> None:
        super().__init__()
        if every_n_epochs < 0:
            raise InputError(f"every_n_epochs must be 0 or more, not {every_n_epochs}")
        if max_filters < 1:
            raise InputError(f"max_filters must be 1 or more, not {max_filters}")
        self.every_n_epochs = every_n_epochs
        self.max_filters = max_filters
        self.enabled = enabled
        self._newest_epoch: int | None = None  # finished epochs when this fit last drew a picture
        self._warned = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the initial weights; ``on_fit_start`` would be too early to know the epoch of a resumed run."""
        if self.enabled and not convolutions(pl_module):
            if trainer.is_global_zero:
                network = getattr(pl_module, "backbone", pl_module)
                log.info("No filters to draw: %s has no convolution.", type(network).__name__)
            return
        self._draw(trainer, pl_module, trainer.current_epoch, overwrite=trainer.global_step == 0)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        finished = trainer.current_epoch + 1  # the Trainer counts this epoch only after its hooks
        if self.every_n_epochs and finished % self.every_n_epochs == 0:
            self._draw(trainer, pl_module, finished)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the final weights, unless they were just drawn at the end of the last epoch."""
        if trainer.current_epoch != self._newest_epoch:
            self._draw(trainer, pl_module, trainer.current_epoch)

    def _draw(self, trainer: Trainer, pl_module: LightningModule, epoch: int, overwrite: bool = True) -> None:
        layers = convolutions(pl_module)
        if not (self.enabled and layers and trainer.loggers):
            return
        self._newest_epoch = epoch
        folder = run_folder(trainer)
        if folder is None or not trainer.is_global_zero:
            return
        for place, (name, weight) in (("first", layers[0]), ("last", layers[-1])):
            path = folder / "filters" / f"epoch_{epoch:03d}_{place}.png"
            # a run resumed within an epoch starts with newer weights than those at the end of the previous epoch
            if path.exists() and not overwrite:
                continue
            shape = " \N{MULTIPLICATION SIGN} ".join(map(str, weight.shape))
            when = f"after epoch {epoch}" if epoch else "before training"
            title = f"{place.capitalize()} convolution, {shape}: {name}\n{when}, step {trainer.global_step}"
            self._write(trainer, path, place, draw_filters(weight, title, self.max_filters).pixels())

    def _write(self, trainer: Trainer, path: Path, place: str, pixels: np.ndarray) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
            for logger in trainer.loggers:
                log_picture(logger, f"filters/{place}", pixels, trainer.global_step)
        except OSError as error:
            if not self._warned:
                log.warning("Could not write a picture of the filters: %s. Training continues without it.", error)
            self._warned = True


def convolutions(pl_module: nn.Module) -> list[tuple[str, Tensor]]:
    """The name and weight of each convolution (each 4-D parameter) of the backbone, or of a module without one."""
    network = getattr(pl_module, "backbone", pl_module)
    return [(name, weight) for name, weight in network.named_parameters() if weight.ndim == 4]

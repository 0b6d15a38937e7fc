"""The progress bar of fit, validate and test."""

import sys
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm, convert_inf

from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.resume.loops import epoch_of


class TimedProgressBar(TQDMProgressBar):
    """Lightning's bar, redrawn a few times per second, since redrawing at every step would slow small networks.

    It shows the newest validation accuracy and the mean training loss of the epoch so far, in 80 columns. There is no
    bar if the output is not a terminal; :class:`~cifar_cnn.callbacks.epoch_lines.EpochLines` prints to logs too.

    Args:
        interval: seconds between redraws.
    """

    BAR_FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{remaining} left, {rate_noinv_fmt}{postfix}]"

    def __init__(self, interval: float = 0.2) -> None:
        super().__init__()
        self.interval = interval
        self._drawn = 0.0
        if not sys.stdout.isatty():
            self.disable()

    def init_train_tqdm(self) -> Tqdm:
        """Create the training bar, which disappears at the end; the lines of the epochs remain."""
        bar = super().init_train_tqdm()
        bar.leave = False
        return bar

    def on_train_start(self, trainer: Trainer, *_: Any) -> None:
        """Start the bar, possibly in the middle of an epoch of a resumed run."""
        super().on_train_start(trainer)
        self._start_epoch(trainer)

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        self._start_epoch(trainer)

    def _start_epoch(self, trainer: Trainer) -> None:
        bar = self.train_progress_bar
        bar.set_description(f"Epoch {epoch_of(trainer, trainer.current_epoch + 1)}", refresh=False)
        bar.reset(convert_inf(self.total_train_batches))

    def _should_update(self, current: int, total: int) -> bool:
        now = time.monotonic()
        if not self.is_enabled or (current != total and now - self._drawn < self.interval):
            return False
        self._drawn = now
        return True

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Validation accuracy, training loss, and any other value logged for the bar."""
        metrics = dict(super().get_metrics(trainer, pl_module))
        metrics.pop("v_num", None)  # the number of the run, which is printed at the start
        shown: dict[str, Any] = {}
        if (accuracy := metrics.pop("val/accuracy", None)) is not None:
            shown["val_acc"] = f"{accuracy:.2%}"
        loss = metrics.pop("train/loss_step", None)
        if isinstance(pl_module, ImageClassifier) and pl_module.train_means.count:
            loss = (pl_module.train_means.loss / pl_module.train_means.count).item()
        if loss is not None:
            shown["loss"] = f"{loss:.3f}"
        for name in ("val/loss", "train/accuracy_step"):
            metrics.pop(name, None)
        return {**shown, **metrics}

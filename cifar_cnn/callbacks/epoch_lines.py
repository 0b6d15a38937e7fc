"""Print one line per epoch."""

import time
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from cifar_cnn.resume.checkpoints import best_checkpoint
from cifar_cnn.resume.loops import epoch_of, validates

_COLUMNS = {  # widths; 79 in total
    **{"epoch": 9, "train loss": 12, "val loss": 10, "val accuracy": 14, "": 5},
    **{"lr": 10, "seconds": 9, "left": 10},
}


class EpochLines(Callback):
    """Prints a line after each epoch: its losses, validation accuracy, learning rate, seconds, and the time left.

    ``best`` marks the epoch whose weights best.ckpt now holds. Without validation images, the validation columns are
    omitted; an epoch without validation leaves them empty. A line is printed at the start of the next epoch or at the
    end of training, when all values of its epoch are logged. The learning rate is the value at the end of the epoch, as
    in metrics.csv. Only rank 0 prints.
    """

    def __init__(self) -> None:
        super().__init__()
        self._columns: dict[str, int] = {}
        self._start = (0.0, 0)  # time and step at the start of this fit
        self._epoch: int | None = None  # the epoch, counted from 1, whose line is due
        self._validated = False  # whether this epoch had a validation
        self._has_header = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        without = {"val loss", "val accuracy", ""} if not validates(trainer) else set()
        self._columns = {name: width for name, width in _COLUMNS.items() if name not in without}
        self._start = (time.monotonic(), trainer.global_step)
        self._epoch, self._validated, self._has_header = None, False, False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validated = self._validated or not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epoch = trainer.current_epoch + 1

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._print(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._print(trainer)

    def _print(self, trainer: Trainer) -> None:
        epoch, validated = self._epoch, self._validated
        self._epoch, self._validated = None, False
        if epoch is None or not trainer.is_global_zero:
            return
        best = best_checkpoint(trainer)
        mark = validated and best is not None and bool(best.monitor) and best.step == trainer.global_step
        cells = _cells(trainer.callback_metrics, validated, mark)
        cells |= {"epoch": epoch_of(trainer, epoch), "left": _duration(self._seconds_left(trainer, epoch))}
        if not self._has_header:
            self._has_header = True
            _show(trainer, "".join(name.rjust(width) for name, width in self._columns.items()))
        line = "".join(cells[name].rjust(width) for name, width in self._columns.items())
        _show(trainer, line.rstrip())

    def _seconds_left(self, trainer: Trainer, epoch: int) -> float | None:
        start, first = self._start
        steps = trainer.global_step - first
        if not steps:
            return None
        left = []
        if trainer.max_epochs is not None and trainer.max_epochs > 0:
            left.append((trainer.max_epochs - epoch) * trainer.global_step / epoch)
        if trainer.max_steps > 0:
            left.append(trainer.max_steps - trainer.global_step)
        return max(min(left), 0) * (time.monotonic() - start) / steps if left else None


def _cells(metrics: Mapping[str, Any], validated: bool, best: bool) -> dict[str, str]:
    def value(name: str, form: str) -> str:
        if name not in metrics or (name.startswith("val/") and not validated):
            return ""
        return format(float(metrics[name]), form)

    return {
        "train loss": value("train/loss", ".4f"),
        "val loss": value("val/loss", ".4f"),
        "val accuracy": value("val/accuracy", ".2%"),
        "": "best" if best else "",
        "lr": value("lr", ".3g"),
        "seconds": value("epoch_seconds", ".1f"),
    }


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _show(trainer: Trainer, line: str) -> None:
    bar = trainer.progress_bar_callback
    if bar is not None and getattr(bar, "is_enabled", True):
        bar.print(line)
    else:
        print(line, flush=True)

"""The progress bar of fit, validate and test."""

import sys
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar


class TimedProgressBar(TQDMProgressBar):
    """Lightning's bar, drawn anew a few times a second instead of at every step, which small networks would wait for.

    Args:
        interval: seconds from one drawing to the next; by default 0.2 in a terminal, and 10 where each is one more
            line, as in a file.
    """

    def __init__(self, interval: float | None = None) -> None:
        super().__init__()
        self.interval = interval if interval is not None else 0.2 if sys.stdout.isatty() else 10.0
        self._drawn = 0.0

    def _should_update(self, current: int, total: int) -> bool:
        now = time.monotonic()
        if not self.is_enabled or (current != total and now - self._drawn < self.interval):
            return False
        self._drawn = now
        return True

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """What is logged for the bar; not the run's number, which the first line has told."""
        metrics = dict(super().get_metrics(trainer, pl_module))
        metrics.pop("v_num", None)
        return metrics

"""Measure the duration of an epoch, with and without validation."""

import time


class EpochStopwatch:
    """Measures the duration of one epoch at a time."""

    def __init__(self) -> None:
        self._start: float | None = None  # None before the first epoch
        self._validation_start = 0.0
        self._validation_seconds = 0.0

    @property
    def is_running(self) -> bool:
        """Whether an epoch has been started."""
        return self._start is not None

    def start(self) -> None:
        """Start an epoch."""
        self._start = time.perf_counter()
        self._validation_seconds = 0.0

    def start_validation(self) -> None:
        """Start a validation within the epoch."""
        self._validation_start = time.perf_counter()

    def stop_validation(self) -> None:
        """Stop the validation."""
        self._validation_seconds += time.perf_counter() - self._validation_start

    @property
    def seconds(self) -> float:
        """Duration of the epoch so far."""
        return time.perf_counter() - self._start if self._start is not None else 0.0

    @property
    def training_seconds(self) -> float:
        """Duration of the epoch so far, without validation."""
        return self.seconds - self._validation_seconds

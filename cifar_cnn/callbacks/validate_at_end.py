"""Validate after the last step of a run, regardless of the interval between validations."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer

_SETTINGS = ("check_val_every_n_epoch", "val_check_batch")


class ValidateAtEnd(Callback):
    """Validates after the last step even if ``check_val_every_n_epoch``, ``val_check_interval`` or ``max_steps`` would
    skip it, so that each run with validation images has a validation accuracy and a best checkpoint.

    The Trainer decides after each step, from its own attributes, whether to validate. This callback changes them only
    for the last step and restores them afterwards.
    """

    def __init__(self) -> None:
        super().__init__()
        self._given: dict[str, Any] = {}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Have the Trainer validate after this step, if it is the last."""
        if not trainer.enable_validation or not _is_last_step(trainer):
            return
        self._given = {name: getattr(trainer, name) for name in _SETTINGS}
        every, batches = self._given.values()
        if every is not None and (trainer.current_epoch + 1) % every:
            trainer.check_val_every_n_epoch = trainer.current_epoch + 1
        step = trainer.fit_loop.total_batch_idx if every is None else batch_idx
        if batches is not None and batches != float("inf") and (step + 1) % batches:
            trainer.val_check_batch = step + 1

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Restore the settings of a run that was asked to stop but continues (``min_epochs``)."""
        self._restore(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._restore(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._restore(trainer)

    def _restore(self, trainer: Trainer) -> None:
        for name, value in self._given.items():
            setattr(trainer, name, value)
        self._given = {}


def _is_last_step(trainer: Trainer) -> bool:
    """Whether the run ends after this step: it reaches its number of steps or epochs, or was asked to stop."""
    if trainer.should_stop or 0 <= trainer.max_steps <= trainer.global_step or _time_is_up(trainer):
        return True
    epochs = trainer.max_epochs
    return trainer.is_last_batch and epochs is not None and 0 <= epochs <= trainer.current_epoch + 1


def _time_is_up(trainer: Trainer) -> bool:
    """Whether ``max_time`` is over; the Timer itself stops the Trainer only after this callback."""
    timers = [each for each in trainer.callbacks if isinstance(each, Timer)]  # type: ignore[attr-defined]
    if not timers:
        return False
    over = any((left := timer.time_remaining()) is not None and left <= 0 for timer in timers)
    return trainer.strategy.broadcast(over)

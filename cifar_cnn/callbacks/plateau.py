"""ReduceLROnPlateau, stepped by validation."""

import sys

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from cifar_cnn.base.errors import InputError
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.resume.loops import validates


class PlateauSchedule(Callback):
    """Steps ReduceLROnPlateau after each validation, before a checkpoint is written.

    Lightning would step it after the epoch's checkpoint, and a resumed run would miss that step.
    """

    def __init__(self) -> None:
        super().__init__()
        self._schedules: list[tuple[ReduceLROnPlateau, str]] = []  # with the metric that each monitors

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the schedules from Lightning.

        Raises:
            InputError: the metric does not exist, or there is no validation.
        """
        self._schedules = []
        if not isinstance(pl_module, ImageClassifier):
            return
        for config in trainer.lr_scheduler_configs:
            if not isinstance(config.scheduler, ReduceLROnPlateau):
                continue
            monitor = str(config.monitor)
            if monitor not in (known := [str(name) for name in pl_module.val_metrics.keys()]):  # noqa: SIM118  (no dict)
                raise InputError(f"model.schedule.monitor must be one of {', '.join(known)}, not {monitor!r}")
            if not validates(trainer):
                raise InputError("ReduceLROnPlateau needs validation images, but there are none: set data.val_size")
            config.frequency = sys.maxsize  # Lightning saves the schedule's state but never steps it
            self._schedules.append((config.scheduler, monitor))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            for schedule, monitor in self._schedules:
                schedule.step(trainer.callback_metrics[monitor].item())

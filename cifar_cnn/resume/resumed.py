"""Report where a resumed run starts, what is left to train, and whether its learning rate changes."""

import logging
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.paths import relative
from cifar_cnn.distributed import prints_messages
from cifar_cnn.optim import FractionSchedule
from cifar_cnn.parts.schedules import epochs_in
from cifar_cnn.resume.loops import epoch_of
from cifar_cnn.runs.folders import run_of

log = logging.getLogger("cifar_cnn")


class Resumed(Callback):
    """Reports where a resumed run starts, what is left to train, and whether a new length changes its learning rate.

    Raises:
        InputError: the run is now longer than its schedule allows.
    """

    def __init__(self) -> None:
        super().__init__()
        self._trains = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._trains = True
        if not trainer.ckpt_path:
            return
        total = trainer.estimated_stepping_batches
        of = f" of {int(total)}" if total != float("inf") else ""
        epoch = epoch_of(trainer, trainer.current_epoch + 1)
        _say(f"Resuming {_name(trainer)} at epoch {epoch}, step {trainer.global_step}{of}")
        for config in trainer.lr_scheduler_configs:
            if not of or not isinstance(config.scheduler, LRScheduler):
                continue
            length = int(total) if config.interval == "step" else epochs_in(int(total), trainer)
            unit = f"{config.interval}s"
            if change := _change(config.scheduler, length, unit):
                advice = f"for a single schedule over all {length} {unit}, start a new run: {_new_run(trainer)}"
                if isinstance(config.scheduler, OneCycleLR):
                    raise InputError(f"{change}; {advice}")
                _say(f"{change}; {advice}")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report that nothing was left to train if training has not started."""
        if self._trains or not trainer.ckpt_path:
            return
        done = f"{_name(trainer)} has trained {trainer.current_epoch} epochs, {trainer.global_step} steps"
        epochs = trainer.max_epochs
        if epochs is not None and 0 <= epochs <= trainer.current_epoch:
            _say(
                f"Nothing left to train: {done}. To train longer, add --trainer.max_epochs {2 * trainer.current_epoch}"
            )
        else:
            _say(f"Nothing left to train: {done}, and was stopped there by max_steps, a time limit or a callback")


def _change(schedule: LRScheduler, total: int, unit: str) -> str | None:
    """How the learning rate changes when a run is resumed with a different length in steps or epochs, if it does."""
    step, name = schedule.last_epoch, type(schedule).__name__
    if isinstance(schedule, FractionSchedule):
        before, now = (float(rates[0]) for rates in (schedule.get_last_lr(), schedule.get_lr()))
        if abs(now - before) > 1e-6 * max(now, before):
            rates = f"the learning rate goes from {before:.3g} to {now:.3g}"
            return f"{name} now spans {total} {unit}: at {unit[:-1]} {step} {rates}"
    if isinstance(schedule, OneCycleLR) and total > schedule.total_steps:
        return f"OneCycleLR was created for {schedule.total_steps} {unit} and cannot be extended; this run has {total}"
    if isinstance(schedule, CosineAnnealingLR) and schedule.T_max < total:
        return f"CosineAnnealingLR was created for {schedule.T_max} {unit}: after that the learning rate rises again"
    return None


def _name(trainer: Trainer) -> str:
    path = Path(str(trainer.ckpt_path))
    run = run_of(path)
    return run.name if run is not None else path.name


def _new_run(trainer: Trainer) -> str:
    run = run_of(str(trainer.ckpt_path))
    config = relative(run / "config.yaml") if run is not None else "FILE"
    epochs = f" --trainer.max_epochs {trainer.max_epochs}" if (trainer.max_epochs or 0) > 0 else ""
    return f"cifar-cnn fit --config {config}{epochs}"


def _say(line: str) -> None:
    if prints_messages():
        log.info("%s", line)

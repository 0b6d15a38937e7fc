"""The checkpoints that a run keeps: the best, the last, and the one before the last."""

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint, EarlyStopping, ModelCheckpoint

from cifar_cnn.base import process
from cifar_cnn.base.errors import Stopped
from cifar_cnn.base.files import move, remove_leftovers
from cifar_cnn.base.paths import relative
from cifar_cnn.resume.loops import validates
from cifar_cnn.runs.folders import LAST, PREVIOUS

log = logging.getLogger("cifar_cnn")


class SavedWithBest(Callback):
    """Base class of callbacks that write a file next to ``best.ckpt`` whenever it is saved."""

    def on_best_saved(self, trainer: Trainer, checkpoint: Path) -> None:
        """Write the file; called in all processes.

        Args:
            trainer: the Trainer of the fit.
            checkpoint: path of ``best.ckpt``.
        """


class BestCheckpoint(ModelCheckpoint):
    """Saves ``checkpoints/best.ckpt``: the epoch with the best validation accuracy; the last without validation images.

    Args:
        monitor: the logged value that decides which epoch is best.
        mode: ``max`` if higher values are better, ``min`` if lower ones are.
    """

    def __init__(self, monitor: str = "val/accuracy", mode: str = "max") -> None:
        super().__init__(
            filename="best",
            monitor=monitor,
            mode=mode,
            enable_version_counter=False,
            auto_insert_metric_name=False,
            # After all values of the epoch are logged, so that a resumed run logs none of them twice.
            save_on_train_epoch_end=True,
        )
        self.step = 0  # step at which the best checkpoint of this fit was saved

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the run's folder, and whether there is anything to monitor."""
        if stage != "fit":
            return
        if not validates(trainer):
            self.monitor = None
        if trainer.loggers and self.dirpath is None:
            self.dirpath = _folder(trainer)
        super().setup(trainer, pl_module, stage)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save if this epoch is the best so far; never before the first validation."""
        validated = any(name.startswith("val/") for name in trainer.callback_metrics)
        if not validated and (self.monitor or "").startswith("val/"):
            return
        before = {**self.state_dict(), "best_k_models": dict(self.best_k_models)}
        super().on_train_epoch_end(trainer, pl_module)
        if not self._has_saved(trainer, before):
            return
        if _failure(trainer) is None:
            self.step = trainer.global_step
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, SavedWithBest):
                    callback.on_best_saved(trainer, Path(self.best_model_path))
        elif self.monitor is not None:
            # The file still holds the previous best, so the state must describe that one.
            for name, value in before.items():
                setattr(self, name, value)

    def _has_saved(self, trainer: Trainer, before: Mapping[str, Any]) -> bool:
        """Whether the weights of this epoch should have been saved."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return False
        if self.monitor is None:  # every epoch is saved
            return trainer.global_step != self.step
        return self.best_k_models != before["best_k_models"]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best checkpoint so far, even if the run folder has been moved."""

        def here(path: str) -> str:
            return os.path.join(self.dirpath or "", os.path.basename(path)) if path else path

        paths = {name: here(state_dict[name]) for name in ("best_model_path", "kth_best_model_path", "last_model_path")}
        best_k = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **paths, "best_k_models": best_k, "dirpath": self.dirpath})
        self.current_score = state_dict["current_score"]  # Lightning does not restore it


class LastCheckpoint(Checkpoint):
    """Saves ``checkpoints/last.ckpt``, from which a run resumes exactly; ``previous.ckpt`` is the one before it.

    A checkpoint is saved when a fit starts, at the end of each epoch, and at intervals within an epoch. It is written
    before Lightning logs the values of its step or epoch, and gets its final name once they are logged. A run killed in
    between resumes from the previous checkpoint, so that no row of the log is missing or duplicated.

    Saving takes at most 5 % of the time: after a checkpoint, the next one is written only after 20 times as long as the
    previous one took. This does not apply to the first, the last and those of ``every_n_steps``.

    Args:
        every_n_minutes: interval within an epoch (0: not by time).
        every_n_steps: optimizer steps between checkpoints within an epoch (0: not by steps).
        on_failure: what to do if a checkpoint cannot be written: ``continue`` training or ``stop``.
    """

    SHARE = 20

    def __init__(
        self,
        every_n_minutes: float = 2.0,
        every_n_steps: int = 0,
        on_failure: Literal["continue", "stop"] = "continue",
    ) -> None:
        super().__init__()
        self.every_n_minutes = every_n_minutes
        self.every_n_steps = every_n_steps
        self.on_failure = on_failure
        self.requested = False  # whether to save after the next step
        self.path: Path | None = None  # latest checkpoint of this fit
        self.step = 0  # step of that checkpoint
        self._folder: Path | None = None
        self._pending: int | None = None  # step of a checkpoint that does not have its final name yet
        self.tried = -1  # step of the latest attempt to save
        self._seconds = 0.0  # duration of the latest attempt
        self._time = 0.0  # when the latest attempt ended

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.loggers and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._folder = Path(_folder(trainer))
            if trainer.is_global_zero:
                remove_leftovers(self._folder)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the first checkpoint, so that the run can always be resumed."""
        self._time = time.monotonic()
        self.tried = self.step = trainer.global_step
        if trainer.ckpt_path:
            self.path = Path(trainer.ckpt_path)
            # Lightning restores the counter of early stopping but not that it had stopped the run.
            stopping = (each for each in trainer.callbacks if isinstance(each, EarlyStopping))  # type: ignore[attr-defined]
            trainer.should_stop |= any(each.wait_count >= each.patience for each in stopping)
        elif trainer.max_steps != -1:
            self.requested = True  # Lightning cannot resume from step 0 when max_steps is set
        elif trainer.global_step == 0:
            self._save(trainer)
            self.commit(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save a checkpoint if it is due and no step is incomplete."""
        due = self._is_due(trainer)
        if trainer.world_size > 1:
            due = trainer.strategy.reduce_boolean_decision(due, all=False)
        if due and not trainer.is_last_batch and not _is_within_a_step(trainer, batch_idx):
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save a checkpoint at the end of the epoch."""
        ends = trainer.should_stop or _is_at_its_end(trainer)
        # Lightning cannot resume from the end of an epoch if max_steps is set; save after the next step instead.
        self.requested |= trainer.max_steps != -1 and not ends
        due = ends or (not self.requested and self._is_cheap()) or (self.requested and trainer.max_steps == -1)
        if trainer.world_size > 1:
            due = trainer.strategy.reduce_boolean_decision(due, all=False)
        if due and self.tried != trainer.global_step:
            self._save(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Commit the checkpoint of the previous step, which is now logged."""
        self.commit(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Commit the checkpoint of the previous epoch, which is now logged."""
        self.commit(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.commit(trainer)

    def request(self) -> None:
        """Request a checkpoint as soon as possible."""
        self.requested = True

    def commit(self, trainer: Trainer) -> None:
        """Give the latest checkpoint its final name."""
        if self._pending is None or self._folder is None:
            return
        self.path, self.step, self._pending = self._folder / LAST, self._pending, None
        if trainer.is_global_zero:
            try:
                if self.path.exists():
                    move(self.path, self._folder / PREVIOUS)
                move(self._folder / "last.pending", self.path)
            except OSError as error:
                log.error("CHECKPOINT NOT WRITTEN: %s: %s", self.path, error.strerror)

    def _is_due(self, trainer: Trainer) -> bool:
        if self.requested:
            return True
        if self.every_n_steps and trainer.global_step - self.tried >= self.every_n_steps:
            return True
        minutes = (time.monotonic() - self._time) / 60
        return bool(self.every_n_minutes) and minutes >= self.every_n_minutes and self._is_cheap()

    def _is_cheap(self) -> bool:
        return time.monotonic() - self._time >= self.SHARE * self._seconds

    def _save(self, trainer: Trainer) -> None:
        self.requested = False
        self.tried = trainer.global_step
        if self._folder is None:
            return
        start = time.monotonic()
        trainer.save_checkpoint(self._folder / "last.pending", weights_only=False)
        self._time = time.monotonic()
        self._seconds = self._time - start
        failure = _failure(trainer)
        if failure is None:
            self._pending = trainer.global_step
            return
        kept = f"{relative(self.path)} still holds step {self.step}" if self.path else "no earlier one exists"
        if self.on_failure == "stop":
            raise Stopped(f"the checkpoint of step {trainer.global_step} could not be written ({failure}); {kept}")
        if trainer.is_global_zero:
            log.error("Training continues without the checkpoint of step %d; %s.", trainer.global_step, kept)


def best_checkpoint(trainer: Trainer) -> BestCheckpoint | None:
    """The callback that keeps the best checkpoint of this trainer."""
    return next((each for each in trainer.checkpoint_callbacks if isinstance(each, BestCheckpoint)), None)


def last_checkpoint(trainer: Trainer) -> LastCheckpoint | None:
    """The callback that keeps the last checkpoint of this trainer."""
    return next((each for each in trainer.checkpoint_callbacks if isinstance(each, LastCheckpoint)), None)


def how_to_resume(trainer: Trainer) -> str:
    """The end of a message about a stopped fit: what is saved, and the command that resumes it."""
    last = last_checkpoint(trainer)
    if last is None:
        return "nothing is saved: this run keeps no checkpoints"
    if last.path is None:
        return "nothing is saved"
    saved = "everything is saved" if last.step == trainer.global_step else f"step {last.step} is saved"
    program = process.program(type(trainer.lightning_module))
    return f"{saved}; resume with  {program} fit --ckpt_path {relative(last.path)}"


def _folder(trainer: Trainer) -> str:
    return os.path.abspath(os.path.join(trainer.log_dir or ".", "checkpoints"))


def _failure(trainer: Trainer) -> str | None:
    """Why rank 0 could not write the latest checkpoint, known to all ranks; None if it could."""
    return trainer.strategy.broadcast(getattr(trainer.strategy.checkpoint_io, "failure", None))


def _is_within_a_step(trainer: Trainer, batch_idx: int) -> bool:
    """Whether the optimizer step needs more batches, or a validation within the epoch follows this batch."""
    if (batch_idx + 1) % trainer.accumulate_grad_batches:
        return True
    every = trainer.val_check_batch
    if not trainer.enable_validation or not every or every == float("inf"):
        return False
    batches = trainer.fit_loop.total_batch_idx if trainer.check_val_every_n_epoch is None else batch_idx
    return (batches + 1) % every == 0


def _is_at_its_end(trainer: Trainer) -> bool:
    epochs = trainer.max_epochs
    return (epochs is not None and 0 <= epochs <= trainer.current_epoch + 1) or (
        0 <= trainer.max_steps <= trainer.global_step
    )

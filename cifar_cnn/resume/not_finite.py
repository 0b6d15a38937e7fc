"""Stop a fit whose loss becomes NaN or infinite."""

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from cifar_cnn.base.errors import Stopped
from cifar_cnn.base.paths import relative
from cifar_cnn.optim import learning_rate
from cifar_cnn.resume.checkpoints import best_checkpoint, last_checkpoint
from cifar_cnn.resume.first_not_finite import diagnosis

log = logging.getLogger("cifar_cnn")


class _Loss(NamedTuple):
    """The loss of a step, with the step's indices and learning rate."""

    step: int
    epoch: int
    batch_idx: int
    learning_rate: float
    value: Tensor


class NotFinite(Callback):
    """Stops a fit whose loss is NaN or infinite, and keeps such weights out of the checkpoints.

    The message says where values first became NaN or infinite: images, weights, logits, loss or gradients. To find out,
    a copy of the network is run on that batch, with the current weights or those of the last checkpoint; this is done
    only with a single process.

    A step without a loss, such as a skipped batch, is not checked.

    Args:
        action: ``stop``, or ``warn`` once and continue.
        every_n_steps: on a GPU or with several ranks, check the losses every this many steps, and always before a
            checkpoint is written. A single process on a CPU checks each loss before the backward pass.

    Raises:
        Stopped: the message names the step, its learning rate, and the last good checkpoint.
    """

    def __init__(self, action: Literal["stop", "warn"] = "stop", every_n_steps: int = 50) -> None:
        super().__init__()
        self.action = action
        self.every_n_steps = every_n_steps
        self._losses: list[_Loss] = []  # losses not checked yet
        self._batch: Any = None  # batch of the current step
        self._batch_idx = 0
        self._learning_rate = 0.0
        self._differentiated: Tensor | None = None  # latest loss of this batch that was differentiated
        self._warned = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Remember the learning rate, which the schedule changes before the step ends."""
        self._batch, self._batch_idx, self._differentiated = batch, batch_idx, None
        if trainer.optimizers:
            self._learning_rate = learning_rate(trainer.optimizers[0])

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Check the loss on a CPU, before the weights change; on other devices, keep it."""
        if trainer.precision == "16-mixed":
            return  # the scaled loss may overflow without a problem
        self._differentiated = loss.detach()
        if _is_alone_on_cpu(trainer, loss) and not self._warned and not math.isfinite(loss.item()):
            self._losses.append(self._loss_of_step(trainer, trainer.global_step + 1, self._differentiated))
            self._check(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the loss, and check the kept losses when it is time."""
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if not isinstance(loss, Tensor):  # with manual optimization, a step need not return a loss
            loss = self._differentiated
        if loss is None and trainer.world_size > 1:
            loss = torch.zeros((), device=pl_module.device)  # all ranks must check at the same steps
        if loss is None or self._warned:
            return
        alone_on_cpu = _is_alone_on_cpu(trainer, loss)
        if alone_on_cpu and math.isfinite(loss.item()):
            return
        self._losses.append(self._loss_of_step(trainer, trainer.global_step, loss.detach()))
        if alone_on_cpu or len(self._losses) >= self.every_n_steps:
            self._check(trainer)
        self._batch = None

    def _loss_of_step(self, trainer: Trainer, step: int, loss: Tensor) -> _Loss:
        return _Loss(step, trainer.current_epoch, self._batch_idx, self._learning_rate, loss)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Check the losses and the weights; after a finite loss, the step may still make weights NaN."""
        self._check(trainer)
        weights = [value for value in checkpoint["state_dict"].values() if value.is_floating_point()]
        bad = bool(weights) and not torch.stack([value.isfinite().all() for value in weights]).all()
        if trainer.world_size > 1:  # BatchNorm's statistics differ between ranks until the next step
            bad = trainer.strategy.reduce_boolean_decision(bad, all=False)
        if bad and not self._warned:
            newest = self._loss_of_step(trainer, trainer.global_step, torch.tensor(math.nan))
            self._act(trainer, "the weights became NaN or infinite", newest)

    def _check(self, trainer: Trainer) -> None:
        kept, self._losses = self._losses, []
        bad = -1
        if kept:
            finite = torch.stack([each.value.float() for each in kept]).isfinite()
            bad = -1 if finite.all() else int(finite.int().argmin())
        anywhere = bad >= 0
        if trainer.world_size > 1:
            anywhere = trainer.strategy.reduce_boolean_decision(anywhere, all=False)
        if anywhere:
            loss = kept[bad]  # the latest loss of this rank if another rank has the bad one
            value = loss.value.item() if bad >= 0 else "NaN or infinite on another rank"
            self._act(trainer, f"the loss became {value}", loss)

    def _act(self, trainer: Trainer, what: str, loss: _Loss) -> None:
        what = f"{what} at step {loss.step}, epoch {loss.epoch}, learning rate {float(loss.learning_rate):.4g}"
        why = diagnosis(trainer, loss.epoch, loss.batch_idx, self._batch)
        if self.action == "warn":
            self._warned = True
            if trainer.is_global_zero:
                log.warning("%s: training continues. %s", what[0].upper() + what[1:], why)
            return
        last = last_checkpoint(trainer)
        good = "this run keeps no checkpoints"
        if last is not None and last.path is not None:
            kept: list[tuple[int, str | Path]] = [(last.step, last.path)]
            if (best := best_checkpoint(trainer)) is not None and best.best_model_path:
                kept.append((best.step, best.best_model_path))
            newest, path = max(kept, key=lambda each: each[0])
            good = f"the last good checkpoint is {relative(path)} (step {newest})"
        raise Stopped(f"{what}: stopped; {good}. {why}")


def _is_alone_on_cpu(trainer: Trainer, loss: Tensor) -> bool:
    return loss.device.type == "cpu" and trainer.world_size == 1

"""What Lightning forgets of an epoch when a run goes on in the middle of it."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch import Tensor


class MidEpoch(Callback):
    """Keeps the logged values, which choose the best checkpoint at the epoch's end, and how gradients are accumulated.

    Comes after the callbacks whose state it sets.
    """

    def __init__(self) -> None:
        super().__init__()
        self._trainer: Trainer | None = None
        self._values: dict[str, Tensor] = {}  # of a checkpoint

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Keep the trainer, for the values that it has."""
        self._trainer = trainer

    def state_dict(self) -> dict[str, Any]:
        """The newest of each logged value, such as those of a validation before the epoch's end; not how long it took,
        in which alone two runs differ."""
        metrics = self._trainer.callback_metrics if self._trainer is not None else {}
        return {"values": {name: value.detach() for name, value in metrics.items() if name != "epoch_seconds"}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the values until training starts."""
        self._values = state_dict["values"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set them, and what GradientAccumulationScheduler would at the epoch's start."""
        trainer.callback_metrics.update({name: value.to(pl_module.device) for name, value in self._values.items()})
        self._values = {}
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, GradientAccumulationScheduler):
                callback.on_train_epoch_start(trainer)

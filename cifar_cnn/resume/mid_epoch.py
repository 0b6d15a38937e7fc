"""The parts of a training's state that Lightning does not restore when a run is resumed."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import BaseFinetuning, GradientAccumulationScheduler
from torch import Tensor


class MidEpoch(Callback):
    """Restores the logged values, the accumulation of gradients, and which layers a fine-tuning callback has unfrozen.

    The logged values choose the best checkpoint at the epoch's end. Comes after the callbacks whose state it sets.
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
        """Set the values, and what the other callbacks set at the start of an epoch."""
        trainer.callback_metrics.update({name: value.to(pl_module.device) for name, value in self._values.items()})
        self._values = {}
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, GradientAccumulationScheduler):
                callback.on_train_epoch_start(trainer)
            elif isinstance(callback, BaseFinetuning) and trainer.ckpt_path:
                _unfreeze(trainer, pl_module)


def _unfreeze(trainer: Trainer, pl_module: LightningModule) -> None:
    """Make trainable what the optimizers train.

    A fine-tuning callback freezes its layers before training and unfreezes them at the start of a certain epoch, which
    a run that is resumed later never comes to.
    """
    groups = (group for optimizer in trainer.optimizers for group in optimizer.param_groups)
    trained = {id(parameter) for group in groups for parameter in group["params"]}
    for module in pl_module.modules():
        own = [parameter for parameter in module.parameters(recurse=False) if id(parameter) in trained]
        if own and not list(module.children()):
            BaseFinetuning.make_trainable(module)  # with BatchNorm's statistics
        for parameter in own:
            parameter.requires_grad_(True)

"""Restore the parts of the training state that Lightning does not restore."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import BaseFinetuning, GradientAccumulationScheduler
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from cifar_cnn.classifier import ImageClassifier


class MidEpoch(Callback):
    """Restores logged values, running means of the epoch, gradient accumulation, and layers unfrozen by fine-tuning.

    The logged values determine at the end of the epoch whether it is the best. This callback must come after the
    callbacks whose state it restores.
    """

    def __init__(self) -> None:
        super().__init__()
        self._trainer: Trainer | None = None
        self._values: dict[str, Tensor] = {}  # from a checkpoint
        self._means: dict[str, Tensor] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._trainer = trainer

    def state_dict(self) -> dict[str, Any]:
        """The latest value of each logged metric, except the epoch's time, which differs between identical runs."""
        if self._trainer is None:
            return {"values": {}, "train_means": {}}
        metrics = self._trainer.callback_metrics
        return {
            "values": {name: value.detach() for name, value in metrics.items() if name != "epoch_seconds"},
            "train_means": _gathered_means(self._trainer),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._values = state_dict["values"]
        self._means = state_dict["train_means"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the values, and the state that other callbacks set at the start of an epoch."""
        trainer.callback_metrics.update({name: value.to(pl_module.device) for name, value in self._values.items()})
        self._values = {}
        _set_means(trainer, self._means)
        self._means = {}
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, GradientAccumulationScheduler):
                callback.on_train_epoch_start(trainer)
            elif isinstance(callback, BaseFinetuning) and trainer.ckpt_path:
                _unfreeze(trainer, pl_module)


def _gathered_means(trainer: Trainer) -> dict[str, Tensor]:
    """The sums of the epoch's training metrics, with one value per rank."""
    if not isinstance(trainer.lightning_module, ImageClassifier):
        return {}
    metric = trainer.lightning_module.train_means
    sums = {name: getattr(metric, name).clone() for name in metric.metric_state}
    if trainer.world_size == 1:
        return sums
    return {name: torch.stack(gather_all_tensors(value)) for name, value in sums.items()}


def _set_means(trainer: Trainer, sums: dict[str, Tensor]) -> None:
    """Restore the epoch's training metrics; if the number of ranks has changed, rank 0 gets the total."""
    model = trainer.lightning_module
    for name, values in sums.items() if isinstance(model, ImageClassifier) else ():
        values = values.reshape(-1).to(model.device)
        if len(values) == trainer.world_size:
            setattr(model.train_means, name, values[trainer.global_rank])
        elif trainer.global_rank == 0:
            setattr(model.train_means, name, values.sum())


def _unfreeze(trainer: Trainer, pl_module: LightningModule) -> None:
    """Unfreeze the layers whose parameters the optimizers hold.

    A fine-tuning callback freezes its layers before training and unfreezes them at the start of a certain epoch. A run
    that is resumed later never reaches that epoch.
    """
    groups = (group for optimizer in trainer.optimizers for group in optimizer.param_groups)
    trained = {id(parameter) for group in groups for parameter in group["params"]}
    for module in pl_module.modules():
        own = [parameter for parameter in module.parameters(recurse=False) if id(parameter) in trained]
        if own and not list(module.children()):
            BaseFinetuning.make_trainable(module)  # with BatchNorm's statistics
        for parameter in own:
            parameter.requires_grad_(True)

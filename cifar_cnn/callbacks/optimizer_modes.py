"""Optimizers with a mode for training and one for evaluation."""

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim import Optimizer


class OptimizerModes(Callback):
    """Calls ``train()`` and ``eval()`` of optimizers that have them, such as those of schedulefree.

    Such an optimizer evaluates an average of the weights. Steps are made in training mode; validation, and every
    checkpoint at the end of an epoch, has the average.
    """

    def on_train_batch_start(self, trainer: Trainer, *arguments: object) -> None:
        for optimizer in _with_modes(trainer):
            optimizer.train()  # type: ignore[attr-defined]

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._evaluate(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._evaluate(trainer)

    def _evaluate(self, trainer: Trainer) -> None:
        for optimizer in _with_modes(trainer):
            optimizer.eval()  # type: ignore[attr-defined]


def _with_modes(trainer: Trainer) -> list[Optimizer]:
    return [
        each for each in trainer.optimizers if all(callable(getattr(each, mode, None)) for mode in ("train", "eval"))
    ]

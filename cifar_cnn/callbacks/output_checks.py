"""Report mistakes in a network or a loss earlier and more clearly than PyTorch."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import BaseFinetuning
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from cifar_cnn.base.errors import InputError
from cifar_cnn.checks.network import has_own_steps
from cifar_cnn.checks.outputs import wrong_logits, wrong_loss
from cifar_cnn.classifier import ImageClassifier


class OutputChecks(Callback):
    """Checks the shapes of logits and loss in each step, and that the network has trainable parameters.

    Raises:
        InputError: a check fails; the message shows the fix.
    """

    def __init__(self) -> None:
        super().__init__()
        self._hooks: list[RemovableHandle] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Hook into the loss, except for a subclass that overrides a step, since it may call the loss differently."""
        if not isinstance(pl_module, ImageClassifier):
            return
        if stage == "fit":
            _check_trainable(pl_module.backbone, trainer.callbacks)  # type: ignore[attr-defined]
        if not has_own_steps(type(pl_module)):
            backbone, classes = pl_module.backbone, pl_module.num_classes

            def check_logits(loss: nn.Module, given: tuple[Any, Any]) -> None:
                logits, labels = given
                if not isinstance(logits, Tensor) or logits.shape != (len(labels), classes):
                    raise InputError(wrong_logits(backbone, logits, len(labels), classes))

            before = pl_module.loss.register_forward_pre_hook(check_logits)
            self._hooks = [before, pl_module.loss.register_forward_hook(check_loss)]

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []


def check_loss(loss: nn.Module, given: tuple[Any, ...], value: Any) -> None:
    """Forward hook that rejects a loss which is not a scalar tensor.

    Raises:
        InputError: the loss is not a scalar.
    """
    if not isinstance(value, Tensor) or value.ndim:
        raise InputError(wrong_loss(loss, value))


def _check_trainable(backbone: nn.Module, callbacks: list[Callback]) -> None:
    if not any(parameter.requires_grad for parameter in backbone.parameters()):
        freezing = [type(each).__name__ for each in callbacks if isinstance(each, BaseFinetuning)]
        why = f": {freezing[0]} freezes every layer except BatchNorm" if freezing else ""
        raise InputError(f"{type(backbone).__name__} has no parameters to train{why}")

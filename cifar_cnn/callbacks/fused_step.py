"""Enable the fused implementation of optimizers."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer


class FusedStep(Callback):
    """Lets optimizers of torch.optim update all parameters in one kernel, which is faster.

    An optimizer is left unchanged if the user has set one of its options ``fused``, ``foreach`` and ``differentiable``,
    or if it has no fused step for the device and dtype of its parameters.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Enable the fused step; the optimizers have just been created."""
        # Lightning assumes that a fused optimizer in mixed precision unscales gradients itself, and would not clip.
        clips = trainer.precision == "bf16-mixed" and bool(trainer.gradient_clip_val)
        if pl_module.device.type in ("cpu", "cuda") and trainer.precision != "16-mixed" and not clips:
            for optimizer in trainer.optimizers:
                _fuse(optimizer)


def _fuse(optimizer: Optimizer) -> None:
    groups = optimizer.param_groups
    kinds = {(param.device, param.dtype): param for group in groups for param in group["params"]}
    if any(map(_may_fuse, groups)) and all(_has_fused_step(optimizer, param) for param in kinds.values()):
        for options in filter(_may_fuse, (optimizer.defaults, *groups)):
            options["fused"] = True


def _may_fuse(options: dict[str, Any]) -> bool:
    """Whether the optimizer has the option ``fused``, and the user set neither it nor an option that excludes it."""
    return options.get("fused", False) is None and not options.get("foreach") and not options.get("differentiable")


def _has_fused_step(optimizer: Optimizer, like: Tensor) -> bool:
    """Try the fused step of an optimizer's class on a single number, since support depends on the version of torch.

    Args:
        optimizer: the optimizer, which is not changed.
        like: a parameter with the device and dtype to try.
    """
    classes = type(optimizer).__mro__  # the constructor of a subclass may need other arguments
    base: Any = next(each for each in classes if each.__module__.startswith("torch.optim"))
    number = torch.zeros(1, device=like.device, dtype=like.dtype, requires_grad=True)
    number.grad = torch.zeros_like(number)
    try:
        base([{**optimizer.param_groups[0], "params": [number], "fused": True}]).step()
    except (RuntimeError, TypeError, ValueError):
        return False
    return True

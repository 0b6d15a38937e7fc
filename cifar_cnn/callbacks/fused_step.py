"""One kernel per optimizer step."""

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim import Optimizer


class FusedStep(Callback):
    """Lets optimizers of torch.optim update all parameters in one kernel, which is faster.

    Options that were given (``fused``, ``foreach``, ``differentiable``) stay as they are.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the fused step; the optimizers have just been made."""
        # Lightning assumes that a fused optimizer in mixed precision unscales gradients itself: it would not clip.
        clips = trainer.precision == "bf16-mixed" and bool(trainer.gradient_clip_val)
        if pl_module.device.type in ("cpu", "cuda") and trainer.precision != "16-mixed" and not clips:
            for optimizer in trainer.optimizers:
                _fuse(optimizer)


def _fuse(optimizer: Optimizer) -> None:
    for options in (optimizer.defaults, *optimizer.param_groups):
        if options.get("fused", False) is None and not options.get("foreach") and not options.get("differentiable"):
            options["fused"] = True

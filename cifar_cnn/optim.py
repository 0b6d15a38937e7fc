"""What torch.optim lacks: schedules that are given by fractions of the run, and parameter groups."""

import math
from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from cifar_cnn.errors import InputError


class PiecewiseLinear(LambdaLR):
    """Learning rate as straight lines between points of the run.

    Args:
        optimizer: whose learning rate is the unit of the points' second numbers.
        total_steps: optimizer steps of the run; the classifier fills this in.
        points: (fraction of the run, fraction of the learning rate), the first at 0, the last at 1. The default rises
            over a quarter of the run and falls to zero, as one-cycle schedules do.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        points: list[tuple[float, float]] = [(0.0, 0.1), (0.25, 1.0), (1.0, 0.0)],  # noqa: B006  (never changed)
    ) -> None:
        times = [time for time, _ in points]
        if len(points) < 2 or times[0] != 0 or times[-1] != 1 or times != sorted(set(times)):
            raise InputError(f"schedule points must rise from fraction 0 of the run to 1; they are at {times}")
        self.points = points
        self.total_steps = total_steps
        super().__init__(optimizer, self._factor)

    def _factor(self, step: int) -> float:
        time = min(step / self.total_steps, 1.0)
        for (t0, f0), (t1, f1) in zip(self.points, self.points[1:], strict=False):
            if time <= t1:
                return f0 + (f1 - f0) * (time - t0) / (t1 - t0)
        raise AssertionError("the last point is at 1")

    def state_dict(self) -> dict[str, Any]:
        """Without what the config gives anyway."""
        return _only_progress(super().state_dict())


class WarmupCosine(LambdaLR):
    """Learning rate that rises linearly from zero, then falls along half a cosine.

    Source: Loshchilov and Hutter, SGDR (2017), without restarts.

    Args:
        optimizer: whose learning rate is the highest.
        total_steps: optimizer steps of the run; the classifier fills this in.
        warmup: fraction of the run that the rise takes.
        final: fraction of the learning rate at the end.
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, warmup: float = 0.0, final: float = 0.0) -> None:
        if not 0 <= warmup < 1:
            raise InputError(f"warmup is a fraction of the run, from 0 to below 1; not {warmup}")
        self.total_steps = total_steps
        self.warmup = warmup
        self.final = final
        super().__init__(optimizer, self._factor)

    def _factor(self, step: int) -> float:
        time = min(step / self.total_steps, 1.0)
        if time < self.warmup:
            # Half a step ahead, so that the first step is not lost to a learning rate of zero.
            return (step + 0.5) / (self.warmup * self.total_steps + 0.5)
        progress = (time - self.warmup) / (1 - self.warmup)
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * progress))

    def state_dict(self) -> dict[str, Any]:
        """Without what the config gives anyway."""
        return _only_progress(super().state_dict())


def _only_progress(state: dict[str, Any]) -> dict[str, Any]:
    # LambdaLR saves every attribute; a bound method among them could not be loaded with weights_only.
    return {key: state[key] for key in ("last_epoch", "_step_count", "base_lrs", "_last_lr") if key in state}


def weight_decay_groups(parameters: Iterable[nn.Parameter], decay_bias_and_norm: bool) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer, of which the vectors (biases, normalisation) may be spared its weight decay.

    Args:
        parameters: those without gradient are left out.
        decay_bias_and_norm: False gives parameters of fewer than two dimensions ``weight_decay`` 0.
    """
    trained = [p for p in parameters if p.requires_grad]
    if decay_bias_and_norm:
        return [{"params": trained}]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2]},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]

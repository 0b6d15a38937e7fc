"""What torch.optim lacks: schedules that are given by fractions of the run, and parameter groups."""

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from cifar_cnn.errors import InputError


class FractionSchedule(LRScheduler):
    """A learning rate that depends on how much of the run is done.

    Args:
        optimizer: whose learning rate is the unit of :meth:`factor`.
        total_steps: optimizer steps of the run.
    """

    def __init__(self, optimizer: Optimizer, total_steps: int) -> None:
        self.total_steps = total_steps
        super().__init__(optimizer)

    def factor(self, time: float) -> float:
        """The learning rate, as a multiple of the optimizer's own, when the fraction ``time`` of the run is done."""
        raise NotImplementedError

    def get_lr(self) -> list[float | Tensor]:
        """The learning rate of each parameter group."""
        factor = self.factor(min(self.last_epoch / self.total_steps, 1.0))
        return [base * factor for base in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """Where the run is. Its shape and length are the config's, so that a run may be made longer."""
        return {key: value for key, value in super().state_dict().items() if key in ("last_epoch", "_step_count")}


class PiecewiseLinear(FractionSchedule):
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
        super().__init__(optimizer, total_steps)

    def factor(self, time: float) -> float:
        """On the line between the two points around ``time``."""
        (t0, f0), (t1, f1) = next(ends for ends in pairwise(self.points) if time <= ends[1][0])
        return f0 + (f1 - f0) * (time - t0) / (t1 - t0)


class WarmupCosine(FractionSchedule):
    """Learning rate that rises linearly, then falls along half a cosine.

    Source: Loshchilov and Hutter, SGDR (2017), without restarts.

    Args:
        optimizer: whose learning rate is the highest.
        total_steps: optimizer steps of the run; the classifier fills this in.
        warmup: fraction of the run that the rise takes, from one step's share of it on.
        final: fraction of the learning rate at the end.
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, warmup: float = 0.0, final: float = 0.0) -> None:
        if not 0 <= warmup < 1:
            raise InputError(f"warmup is a fraction of the run, from 0 to below 1; not {warmup}")
        self.warmup = warmup
        self.final = final
        super().__init__(optimizer, total_steps)

    def factor(self, time: float) -> float:
        """On the line, or on the cosine."""
        if time < self.warmup:
            # One step ahead, so that the first step is not lost to a learning rate of zero.
            return min((time + 1 / self.total_steps) / self.warmup, 1.0)
        progress = (time - self.warmup) / (1 - self.warmup)
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * progress))


def weight_decay_groups(parameters: Iterable[nn.Parameter], decay_bias_and_norm: bool) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer, of which the vectors (biases, normalisation) may be spared its weight decay.

    Args:
        parameters: those without gradient are left out.
        decay_bias_and_norm: False gives parameters of fewer than two dimensions ``weight_decay`` 0.
    """
    trained = [p for p in parameters if p.requires_grad]
    if decay_bias_and_norm:
        return [{"params": trained}]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.ndim >= 2]},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]

"""Learning-rate schedules over fractions of a run."""

import math
from itertools import pairwise

from torch.optim import Optimizer

from cifar_cnn.base.errors import InputError
from cifar_cnn.parts.fraction_schedule import FractionSchedule


class PiecewiseLinear(FractionSchedule):
    """Interpolate the learning rate linearly between points of the run.

    Args:
        optimizer: the optimizer to schedule; its learning rate is multiplied by the factors.
        total_steps: optimizer steps in the run; set by ImageClassifier.
        points: pairs of (fraction of the run, factor); the first fraction is 0, the last 1. By default, the factor
            rises over a quarter of the run, then falls to zero.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        points: list[tuple[float, float]] = [(0.0, 0.1), (0.25, 1.0), (1.0, 0.0)],  # noqa: B006  (never changed)
    ) -> None:
        times = [time for time, _ in points]
        if len(points) < 2 or times[0] != 0 or times[-1] != 1 or times != sorted(set(times)):
            raise InputError(f"the fractions of the schedule's points must increase from 0 to 1; they are {times}")
        self.points = points
        super().__init__(optimizer, total_steps)

    def factor(self, time: float) -> float:
        """Interpolate between the points before and after ``time``."""
        (t0, f0), (t1, f1) = next(ends for ends in pairwise(self.points) if time <= ends[1][0])
        return f0 + (f1 - f0) * (time - t0) / (t1 - t0)


class WarmupCosine(FractionSchedule):
    """Increase the learning rate linearly, then decrease it along half a cosine.

    Source: Loshchilov and Hutter, SGDR (2017), without restarts.

    Args:
        optimizer: the optimizer to schedule; its learning rate is the maximum.
        total_steps: optimizer steps in the run; set by ImageClassifier.
        warmup: fraction of the run during which the learning rate increases.
        final: learning rate at the end of the run, as a fraction of the maximum.
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, warmup: float = 0.0, final: float = 0.0) -> None:
        if not 0 <= warmup < 1:
            raise InputError(f"warmup must be a fraction of the run in [0, 1), not {warmup}")
        self.warmup = warmup
        self.final = final
        super().__init__(optimizer, total_steps)

    def factor(self, time: float) -> float:
        """The linear warmup up to ``warmup``, then the cosine."""
        if time < self.warmup:
            # Shifted by one step, because a learning rate of zero would waste the first step.
            return min((time + 1 / self.total_steps) / self.warmup, 1.0)
        progress = (time - self.warmup) / (1 - self.warmup)
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * progress))

"""Learning-rate schedules over fractions of the run."""

import math
from itertools import pairwise

from torch.optim import Optimizer

from cifar_cnn.errors import InputError
from cifar_cnn.parts.fraction_schedule import FractionSchedule


class PiecewiseLinear(FractionSchedule):
    """A learning rate that follows straight lines between points of the run.

    Args:
        optimizer: its learning rate is the unit of the points' second numbers.
        total_steps: optimizer steps of the run; ImageClassifier fills this in.
        points: pairs of (fraction of the run, fraction of the learning rate), the first at 0, the last at 1. The
            default rises over a quarter of the run, then falls to zero, as one-cycle schedules do.
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
        """Interpolate between the two points around ``time``."""
        (t0, f0), (t1, f1) = next(ends for ends in pairwise(self.points) if time <= ends[1][0])
        return f0 + (f1 - f0) * (time - t0) / (t1 - t0)


class WarmupCosine(FractionSchedule):
    """A learning rate that rises linearly, then falls along half a cosine.

    Source: Loshchilov and Hutter, SGDR (2017), without restarts.

    Args:
        optimizer: its learning rate is the highest one.
        total_steps: optimizer steps of the run; ImageClassifier fills this in.
        warmup: fraction of the run that the rise takes.
        final: fraction of the learning rate at the end.
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, warmup: float = 0.0, final: float = 0.0) -> None:
        if not 0 <= warmup < 1:
            raise InputError(f"warmup is a fraction of the run, from 0 to below 1; not {warmup}")
        self.warmup = warmup
        self.final = final
        super().__init__(optimizer, total_steps)

    def factor(self, time: float) -> float:
        """The value on the line, or on the cosine."""
        if time < self.warmup:
            # One step ahead, because a learning rate of zero would waste the first step.
            return min((time + 1 / self.total_steps) / self.warmup, 1.0)
        progress = (time - self.warmup) / (1 - self.warmup)
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * progress))

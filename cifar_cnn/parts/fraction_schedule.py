"""Base class of schedules over fractions of a run."""

from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class FractionSchedule(LRScheduler):
    """A learning rate that depends on the completed fraction of the run.

    A parameter group with the option ``until`` completes the whole schedule in this fraction of the run.

    Args:
        optimizer: the optimizer to schedule; its learning rate is multiplied by :meth:`factor`.
        total_steps: optimizer steps in the run.
    """

    def __init__(self, optimizer: Optimizer, total_steps: int) -> None:
        self.total_steps = total_steps
        super().__init__(optimizer)

    def factor(self, time: float) -> float:
        """The factor of the learning rate after the fraction ``time`` of the run."""
        raise NotImplementedError

    def get_lr(self) -> list[float | Tensor]:
        """The learning rate of each parameter group.

        A group that is added during the run, for example by BackboneFinetuning, starts with its current learning rate;
        the schedule scales it from then on.
        """
        groups = self.optimizer.param_groups
        first, step = len(self.base_lrs), self.last_epoch
        rates = [base * self._factor(group, step) for base, group in zip(self.base_lrs, groups[:first], strict=True)]
        return [*rates, *(self._added_lr(index) for index in range(first, len(groups)))]

    def _factor(self, group: dict[str, Any], step: int) -> float:
        time, end = step / self.total_steps, group.get("until", 1.0)
        return self.factor(min(time / end, 1.0) if end > 0 else 1.0)

    def _added_lr(self, index: int) -> float | Tensor:
        group = self.optimizer.param_groups[index]
        if group["lr"] not in self._last_lr[index : index + 1]:  # a new group, or a callback has changed its rate
            before = self._factor(group, self.last_epoch - 1)
            group["initial_lr"] = group["lr"] / before if before else group["lr"]
        return group["initial_lr"] * self._factor(group, self.last_epoch)

    def state_dict(self) -> dict[str, Any]:
        """The position in the run, without the schedule's shape and length, so that a resumed run can be longer."""
        kept = ("last_epoch", "_step_count", "_last_lr")
        return {key: value for key, value in super().state_dict().items() if key in kept}

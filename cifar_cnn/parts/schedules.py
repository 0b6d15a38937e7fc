"""Create a learning-rate schedule of any kind for a run of known length."""

import inspect
import math
from collections.abc import Callable
from typing import Any, Literal

from lightning.pytorch import Trainer
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.input_checks.run_length import finite_steps

# The second argument is the length of the run. Schedules with another second argument do not receive it.
ScheduleCallable = Callable[[Optimizer, int], LRScheduler] | Callable[[Optimizer], LRScheduler]
Interval = Literal["step", "epoch"]


def schedule_config(
    make: ScheduleCallable, optimizer: Optimizer, trainer: Trainer, interval: Interval | None
) -> dict[str, Any]:
    """Create a schedule, with the interval at which Lightning steps it.

    Args:
        make: see :func:`make_schedule`.
        optimizer: the optimizer to schedule.
        trainer: knows the length of the run.
        interval: ``step`` or ``epoch``. By default, a schedule that receives the length of the run is stepped after
            each batch, and so are OneCycleLR and CyclicLR. Others, such as MultiStepLR, are stepped after each epoch,
            as torch documents. ReduceLROnPlateau is always stepped after each validation.

    Raises:
        InputError: an argument is missing or invalid, or a schedule needs the length of a run without an end.
    """
    needs_length = receives_length(make)
    length = 0
    if needs_length:
        length = finite_steps(trainer.estimated_stepping_batches, "a schedule")
        length = epochs_in(length, trainer) if interval == "epoch" else length
    schedule = make_schedule(make, optimizer, length)
    if isinstance(schedule, ReduceLROnPlateau):
        return {"scheduler": schedule, "interval": "epoch", "monitor": getattr(schedule, "monitor", "val/loss")}
    by_step = needs_length or isinstance(schedule, OneCycleLR | CyclicLR)
    return {"scheduler": schedule, "interval": interval or ("step" if by_step else "epoch")}


def epochs_in(steps: int, trainer: Trainer) -> int:
    """Number of epochs in ``steps`` optimizer steps, rounded up."""
    return math.ceil(steps * trainer.accumulate_grad_batches / trainer.num_training_batches)


def receives_length(make: ScheduleCallable) -> bool:
    """Whether :func:`make_schedule` passes the length of the run to ``make``."""
    by_position, by_name = _length_arguments(make)
    return by_position or bool(by_name)


def make_schedule(make: ScheduleCallable, optimizer: Optimizer, length: int) -> LRScheduler:
    """Create a schedule for a run of a given length.

    Args:
        make: a schedule class, a partial of one, or a function; called with (optimizer, length). Schedules of torch and
            Lightning instead receive ``length`` as their argument ``T_max`` or ``total_steps``, unless that is already
            set.
        optimizer: the optimizer to schedule.
        length: optimizer steps in the run, or epochs if the schedule is stepped after each epoch.

    Raises:
        InputError: an argument is missing or invalid.
    """
    by_position, names = _length_arguments(make)
    positional = (optimizer, length) if by_position else (optimizer,)
    by_name = dict.fromkeys(names, length)
    made = _made(make)
    try:
        inspect.signature(made).bind(*positional, **{**_given(make), **by_name})
        return make(*positional, **by_name)
    except (TypeError, ValueError) as error:
        raise InputError(f"schedule: {getattr(made, '__name__', 'a function')}: {error}") from error


def _length_arguments(make: ScheduleCallable) -> tuple[bool, list[str]]:
    """How ``make`` receives the length of the run: whether as its second argument, and the names of others."""
    made, given = _made(make), _given(make)
    names = list(inspect.signature(made).parameters)
    if not made.__module__.startswith(("torch.", "lightning.")):
        return bool(names[1:2]) and names[1] not in given, []
    if given.get("epochs"):  # OneCycleLR can compute its length from epochs
        return False, []
    return False, [name for name in names if name in ("T_max", "total_steps") and not given.get(name)]


def _made(make: Any) -> Any:
    parts = (getattr(make, "func", None), *getattr(make, "args", ()))  # of a partial; jsonargparse's holds it in args
    return next((each for each in parts if isinstance(each, type)), make)


def _given(make: Any) -> dict[str, Any]:
    return getattr(make, "keywords", {})

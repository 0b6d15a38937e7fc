"""Create a learning-rate schedule of any kind for a run of known length."""

import inspect
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from cifar_cnn.base.errors import InputError

# The second argument is the number of steps in the run. Schedules with another second argument do not receive it.
ScheduleCallable = Callable[[Optimizer, int], LRScheduler] | Callable[[Optimizer], LRScheduler]


def make_schedule(make: ScheduleCallable, optimizer: Optimizer, total_steps: int) -> LRScheduler:
    """Create a schedule for a run of ``total_steps`` steps.

    Args:
        make: a schedule class, a partial of one, or a function; called with (optimizer, total_steps). Schedules of
            torch and Lightning instead receive ``total_steps`` as their argument ``T_max`` or ``total_steps``, unless
            that is already set.
        optimizer: the optimizer to schedule.
        total_steps: optimizer steps in the run.

    Raises:
        InputError: an argument is missing or invalid.
    """
    given = getattr(make, "keywords", {})
    parts = (getattr(make, "func", None), *getattr(make, "args", ()))  # of a partial; jsonargparse's holds it in args
    made = next((each for each in parts if isinstance(each, type)), make)
    signature = inspect.signature(made)
    names = list(signature.parameters)
    by_name: dict[str, int] = {}
    by_position: tuple[Any, ...] = (optimizer,)
    if made.__module__.startswith(("torch.", "lightning.")):
        if not given.get("epochs"):  # OneCycleLR can compute its length from epochs
            by_name = {name: total_steps for name in names if name in ("T_max", "total_steps") and not given.get(name)}
    elif names[1:2] and names[1] not in given:
        by_position = (optimizer, total_steps)
    try:
        signature.bind(*by_position, **{**given, **by_name})
        return make(*by_position, **by_name)
    except (TypeError, ValueError) as error:
        raise InputError(f"schedule: {getattr(made, '__name__', 'a function')}: {error}") from error

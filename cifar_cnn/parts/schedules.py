"""Make a schedule of any kind and tell it the run's length."""

import inspect
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from cifar_cnn.errors import InputError

# With the run's length as the second argument, or, where the second argument means something else, without it.
ScheduleCallable = Callable[[Optimizer, int], LRScheduler] | Callable[[Optimizer], LRScheduler]


def make_schedule(make: ScheduleCallable, optimizer: Optimizer, total_steps: int) -> LRScheduler:
    """Make a schedule and tell it the run's length.

    Args:
        make: a schedule's class, a partial of it, or a function, of (optimizer, total_steps). The second argument of
            torch's own schedules is often something else: they get the length as ``T_max`` or ``total_steps``, unless
            that is given.
        optimizer: the optimizer to schedule.
        total_steps: the run's length.

    Raises:
        InputError: an argument is missing or has an impossible value.
    """
    given = getattr(make, "keywords", {})
    parts = (getattr(make, "func", None), *getattr(make, "args", ()))  # of a partial, also jsonargparse's own
    made = next((each for each in parts if isinstance(each, type)), make)
    signature = inspect.signature(made)
    names = list(signature.parameters)
    by_name: dict[str, int] = {}
    by_position: tuple[Any, ...] = (optimizer,)
    if made.__module__.startswith(("torch.", "lightning.")):
        if not given.get("epochs"):  # OneCycleLR computes its length from it
            by_name = {name: total_steps for name in names if name in ("T_max", "total_steps") and not given.get(name)}
    elif names[1:2] and names[1] not in given:
        by_position = (optimizer, total_steps)
    try:
        signature.bind(*by_position, **{**given, **by_name})
        return make(*by_position, **by_name)
    except (TypeError, ValueError) as error:
        raise InputError(f"schedule: {getattr(made, '__name__', 'a function')}: {error}") from error

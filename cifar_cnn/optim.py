"""What torch.optim lacks: Muon for filters, schedules by fractions of the run, parameter groups by name."""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from cifar_cnn.errors import InputError
from cifar_cnn.hardware import cpu_has_matrix_units


class Muon(Optimizer):
    """Muon for convolution filters and SGD with Nesterov momentum for all other parameters.

    Filters, reshaped to (C_out, -1), are first scaled to the norm sqrt(C_out), then moved against their momentum with
    all its singular values brought near 1. Filters that start at zero are only moved in their first step with a
    gradient, and scaled from the next step. One optimizer of both, since two cost Lightning's loop more, and a schedule
    each.

    Source: Jordan et al., Muon: An optimizer for hidden layers (2024), https://kellerjordan.github.io/posts/muon/, as
    used in KellerJordan/cifar10-airbench. torch.optim.Muon takes 2-D parameters only.

    Args:
        params: parameters, or groups of them; a group's own ``lr`` and ``weight_decay`` go before those given here.
        lr: of the filters (4-D parameters): the size of a step, whatever the size of the gradient.
        momentum: of the filters.
        ns_steps: Newton-Schulz iterations.
        sgd_lr: of the other parameters.
        sgd_momentum: of the other parameters.
        weight_decay: of the other parameters, added to the gradient; the filters' norm is fixed.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 0.24,
        momentum: float = 0.6,
        ns_steps: int = 3,
        sgd_lr: float = 0.1,
        sgd_momentum: float = 0.85,
        weight_decay: float = 0.0,
    ) -> None:
        if min(lr, sgd_lr, weight_decay) < 0 or not (0 <= momentum < 1 and 0 <= sgd_momentum < 1) or ns_steps < 1:
            raise ValueError("learning rates and weight_decay are 0 or more, momenta below 1, ns_steps 1 or more")
        self._sgd = {"lr": sgd_lr, "momentum": sgd_momentum}
        super().__init__(params, {"lr": lr, "momentum": momentum, "ns_steps": ns_steps, "weight_decay": weight_decay})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add the filters and the other parameters of a group as a group each."""
        params = param_group["params"]
        params = [params] if isinstance(params, Tensor) else list(params)
        filters = [p for p in params if p.ndim == 4]
        others = [p for p in params if p.ndim != 4]
        if filters:
            super().add_param_group({**param_group, "params": filters, "muon": True})
        if others or not filters:
            super().add_param_group({**self._sgd, **param_group, "params": others, "muon": False})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; returns what the closure, if there is one, returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            grads: Any = [p.grad for p in params]
            momentum = group["momentum"]
            if not group["muon"] and group["weight_decay"]:
                grads = torch._foreach_add(grads, params, alpha=group["weight_decay"])
            for p in params:
                if "momentum_buffer" not in self.state[p]:
                    self.state[p]["momentum_buffer"] = torch.zeros_like(p)
            buffers = [self.state[p]["momentum_buffer"] for p in params]
            torch._foreach_mul_(buffers, momentum)
            torch._foreach_add_(buffers, grads)
            updates = torch._foreach_add(grads, buffers, alpha=momentum)  # Nesterov
            if group["muon"]:
                for p, update in zip(params, updates, strict=True):
                    # Filters that are all zero have no direction to keep: they are scaled once a step has moved them.
                    p.mul_((len(p) ** 0.5 / p.norm()).nan_to_num(nan=1.0, posinf=1.0))
                    # The order of a matrix's columns does not matter, and without a copy it is that of the memory.
                    order = (0, 2, 3, 1) if p.is_contiguous(memory_format=torch.channels_last) else (0, 1, 2, 3)
                    permuted = p.permute(order)
                    matrix = update.permute(order).reshape(len(p), -1)
                    permuted.add_(orthogonalize(matrix, group["ns_steps"]).view(permuted.shape), alpha=-group["lr"])
            else:
                torch._foreach_add_(params, updates, alpha=-group["lr"])
        return loss


def orthogonalize(matrix: Tensor, steps: int, dtype: torch.dtype | None = None) -> Tensor:
    """Bring the singular values of a matrix near 1 (0.7 to 1.2 after 5 steps) and keep its singular vectors.

    Newton-Schulz iteration with the coefficients of Jordan et al. (2024), chosen for a steep rise at zero. A matrix of
    zeros stays one.

    Args:
        matrix: (rows, columns).
        steps: iterations.
        dtype: to compute in; by default bfloat16, as the source does, where there are matrix units for it.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    if dtype is None:
        fast = matrix.is_cuda or (matrix.device.type == "cpu" and cpu_has_matrix_units())
        dtype = torch.bfloat16 if fast else matrix.dtype
    x = matrix.to(dtype)
    x = x / (x.norm() + 1e-7)  # so that no singular value is above 1
    if tall := len(x) > x.shape[1]:
        x = x.T
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.T if tall else x).to(matrix.dtype)


def make_schedule(make: Callable[..., LRScheduler], optimizer: Optimizer, total_steps: int) -> LRScheduler:
    """A schedule that is told the run's length.

    Args:
        make: a schedule's class, a partial of it, or a function, of (optimizer, total_steps). Of torch's own, whose
            second argument is often something else, ``T_max`` and ``total_steps`` are the length, if left open.
        optimizer: what is scheduled.
        total_steps: the run's length.

    Raises:
        InputError: an argument is missing or has an impossible value.
    """
    given = getattr(make, "keywords", {})
    parts = (getattr(make, "func", None), *getattr(make, "args", ()))  # of a partial, jsonargparse's among them
    made = next((each for each in parts if isinstance(each, type)), make)
    signature = inspect.signature(made)
    names = list(signature.parameters)
    by_name: dict[str, int] = {}
    by_position: tuple[Any, ...] = (optimizer,)
    if made.__module__.startswith(("torch.", "lightning.")):
        if not given.get("epochs"):  # from which OneCycleLR makes a length of its own
            by_name = {name: total_steps for name in names if name in ("T_max", "total_steps") and not given.get(name)}
    elif names[1:2] and names[1] not in given:
        by_position = (optimizer, total_steps)
    try:
        signature.bind(*by_position, **{**given, **by_name})
        return make(*by_position, **by_name)
    except (TypeError, ValueError) as error:
        raise InputError(f"model.schedule: {getattr(made, '__name__', 'a function')}: {error}") from error


class FractionSchedule(LRScheduler):
    """A learning rate that depends on how much of the run is done.

    A parameter group with ``until``, a fraction of the run, goes through the whole schedule by then.

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
        """The learning rate of each parameter group.

        A group that was added after the schedule was made, as BackboneFinetuning does, keeps the learning rate that it
        was given, scaled from then on as the schedule scales those of all others.
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
        if group["lr"] not in self._last_lr[index : index + 1]:  # the group is new, or a callback has changed its rate
            before = self._factor(group, self.last_epoch - 1)
            group["initial_lr"] = group["lr"] / before if before else group["lr"]
        return group["initial_lr"] * self._factor(group, self.last_epoch)

    def state_dict(self) -> dict[str, Any]:
        """Where the run is. Its shape and length are the config's, so that a run may be made longer."""
        kept = ("last_epoch", "_step_count", "_last_lr")
        return {key: value for key, value in super().state_dict().items() if key in kept}


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


def use_fused_step(optimizer: Optimizer) -> None:
    """Update all parameters in one kernel, where the optimizer has one and its options leave that open."""
    for options in (optimizer.defaults, *optimizer.param_groups):
        if options.get("fused", False) is None and not options.get("foreach") and not options.get("differentiable"):
            options["fused"] = True


def learning_rate(optimizer: Optimizer) -> float:
    """Of an optimizer's several rates the one that most weights have."""
    return float(max(optimizer.param_groups, key=lambda group: sum(p.numel() for p in group["params"]))["lr"])


def parameter_groups(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    decay_bias_and_norm: bool,
    options: Mapping[str, Mapping[str, float]] = {},
) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer: by patterns of names, and the vectors apart if they are not to decay.

    Args:
        named_parameters: those without gradient are left out.
        decay_bias_and_norm: False gives parameters of fewer than two dimensions (biases, normalisation)
            ``weight_decay`` 0.
        options: options of the optimizer (``lr``, ``weight_decay``, ...), and ``until`` of a schedule, by a pattern of
            names such as ``head.*``; the first pattern that fits a parameter is used.

    Raises:
        InputError: a pattern fits no parameter.
    """
    groups: dict[tuple[str | None, bool], list[nn.Parameter]] = {}
    for name, parameter in named_parameters:
        if parameter.requires_grad:
            pattern = next((pattern for pattern in options if fnmatchcase(name, pattern)), None)
            spared = not decay_bias_and_norm and parameter.ndim < 2
            groups.setdefault((pattern, spared), []).append(parameter)
    if unused := set(options) - {pattern for pattern, _ in groups}:
        raise InputError(f"model.parameter_groups: no trained parameter of the backbone is called {sorted(unused)[0]}")
    return [
        {"params": parameters, **({"weight_decay": 0.0} if spared else {}), **(options[pattern] if pattern else {})}
        for (pattern, spared), parameters in groups.items()
    ]

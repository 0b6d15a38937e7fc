"""Muon for convolution filters.

Source: Jordan et al., Muon: An optimizer for hidden layers (2024), https://kellerjordan.github.io/posts/muon/, as used
in KellerJordan/cifar10-airbench. torch.optim.Muon takes 2-D parameters only.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from cifar_cnn.compat import cpu_multiplies_bfloat16

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of Jordan et al. (2024), chosen for a steep rise at zero


class Muon(Optimizer):
    """Muon for convolution filters and SGD with Nesterov momentum for all other parameters.

    Each step scales the filters, reshaped to (C_out, -1), to the norm sqrt(C_out), then moves them against their
    momentum with all its singular values brought near 1. Filters of zeros are not scaled. ``renorm_every`` scales less
    often.

    A single optimizer updates both kinds of parameters, because Lightning's loop is slower with two optimizers.

    Args:
        params: parameters or parameter groups. The options of a group take precedence.
        lr: learning rate of the filters (4-D parameters); the size of a step does not depend on that of the gradient.
        momentum: momentum of the filters.
        ns_steps: Newton-Schulz iterations.
        ns_coefficients: of the polynomial in each iteration, see :func:`orthogonalize`.
        renorm_every: number of steps from one scaling of the filters to the next.
        renorm_growth: steps by which ``renorm_every`` grows in each step. In hiverge/cifar10-speedrun (2025), the two
            are 2 and 0.06 in a run of 243 steps: at its end, the filters are scaled in every 16th step.
        sgd_lr: learning rate of the other parameters.
        sgd_momentum: momentum of the other parameters.
        weight_decay: L2 penalty of the other parameters; the norm of the filters is fixed.
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
        ns_coefficients: tuple[float, float, float] = COEFFICIENTS,
        renorm_every: int = 1,
        renorm_growth: float = 0.0,
    ) -> None:
        if renorm_every < 1 or renorm_growth < 0:
            raise ValueError("renorm_every must be 1 or more steps, and renorm_growth 0 or more")
        if min(lr, sgd_lr, weight_decay) < 0 or not (0 <= momentum < 1 and 0 <= sgd_momentum < 1) or ns_steps < 1:
            raise ValueError("learning rates and weight_decay must be >= 0, momenta below 1 and ns_steps >= 1")
        self._sgd = {"lr": sgd_lr, "momentum": sgd_momentum}
        filters = {"lr": lr, "momentum": momentum, "ns_steps": ns_steps, "ns_coefficients": tuple(ns_coefficients)}
        renorm = {"renorm_every": renorm_every, "renorm_growth": renorm_growth, "steps": 0}  # steps: that are done
        super().__init__(params, {**filters, **renorm, "weight_decay": weight_decay})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group as up to two groups: one of filters and one of other parameters."""
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
        """Update the parameters; return the loss of the closure, if any."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            updates = self._nesterov(params, group)
            if group["muon"]:
                if group["steps"] % (group["renorm_every"] + int(group["renorm_growth"] * group["steps"])) == 0:
                    _scale_filters(params)
                for p, update in zip(params, updates, strict=True):
                    _move_filters(p, update, group)
                group["steps"] += 1
            else:
                torch._foreach_add_(params, updates, alpha=-group["lr"])
        return loss

    def _nesterov(self, params: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        grads: Any = [p.grad for p in params]
        if not group["muon"] and group["weight_decay"]:
            grads = torch._foreach_add(grads, params, alpha=group["weight_decay"])
        for p in params:
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        buffers = [self.state[p]["momentum_buffer"] for p in params]
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_add_(buffers, grads)
        return list(torch._foreach_add(grads, buffers, alpha=group["momentum"]))


def _scale_filters(params: list[Tensor]) -> None:
    for filters in params:
        # Filters of zeros have no norm to scale by (nan or infinity): they are only moved.
        filters.mul_((len(filters) ** 0.5 / filters.norm()).nan_to_num(nan=1.0, posinf=1.0))


def _move_filters(filters: Tensor, update: Tensor, group: dict[str, Any]) -> None:
    # The order of the columns does not affect the result. The order in memory avoids a copy.
    order = (0, 2, 3, 1) if filters.is_contiguous(memory_format=torch.channels_last) else (0, 1, 2, 3)
    permuted = filters.permute(order)
    matrix = update.permute(order).reshape(len(filters), -1)
    moved = orthogonalize(matrix, group["ns_steps"], coefficients=group["ns_coefficients"])
    permuted.add_(moved.view(permuted.shape), alpha=-group["lr"])


def orthogonalize(
    matrix: Tensor,
    steps: int,
    dtype: torch.dtype | None = None,
    coefficients: tuple[float, float, float] = COEFFICIENTS,
) -> Tensor:
    """Bring the singular values of a matrix near 1 (0.7 to 1.2 after 5 steps) and keep its singular vectors.

    Newton-Schulz iteration with the coefficients of Jordan et al. (2024), which maximize the slope at zero. A matrix of
    zeros stays zero. ``dtype`` is the dtype of the computation: by default bfloat16, as in the source, if the hardware
    supports it, otherwise the dtype of the matrix.
    """
    a, b, c = coefficients
    if dtype is None:
        fast = matrix.is_cuda or (matrix.device.type == "cpu" and cpu_multiplies_bfloat16())
        dtype = torch.bfloat16 if fast else matrix.dtype
    x = matrix.to(dtype)
    x = x / (x.norm() + 1e-7)  # makes all singular values at most 1
    if tall := len(x) > x.shape[1]:
        x = x.T
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.T if tall else x).to(matrix.dtype)

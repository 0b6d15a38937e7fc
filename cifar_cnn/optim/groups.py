"""Parameter groups: which options of the optimizer each parameter gets."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from torch import nn
from torch.optim import Optimizer

from cifar_cnn.errors import InputError


def parameter_groups(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    decay_bias_and_norm: bool,
    options: Mapping[str, Mapping[str, float]] = {},
) -> list[dict[str, Any]]:
    """Group parameters by patterns of their names and, optionally, by whether weight decay applies.

    Args:
        named_parameters: names and parameters; frozen parameters are left out.
        decay_bias_and_norm: False sets ``weight_decay`` to 0 for parameters with fewer than two dimensions (biases and
            normalisation).
        options: optimizer options (``lr``, ``weight_decay``, ...), and ``until`` for a schedule, by a pattern such as
            ``head.*``. A parameter gets the options of the first pattern that matches its name.

    Raises:
        InputError: a pattern matches no parameter.
    """
    groups: dict[tuple[str | None, bool], list[nn.Parameter]] = {}
    for name, parameter in named_parameters:
        if parameter.requires_grad:
            pattern = next((pattern for pattern in options if fnmatchcase(name, pattern)), None)
            no_decay = not decay_bias_and_norm and parameter.ndim < 2
            groups.setdefault((pattern, no_decay), []).append(parameter)
    if unused := set(options) - {pattern for pattern, _ in groups}:
        raise InputError(f"parameter_groups: no trained parameter of the backbone is called {sorted(unused)[0]}")
    return [
        {"params": parameters, **({"weight_decay": 0.0} if no_decay else {}), **(options[pattern] if pattern else {})}
        for (pattern, no_decay), parameters in groups.items()
    ]


def learning_rate(optimizer: Optimizer) -> float:
    """The learning rate of the parameter group that holds most weights."""
    return float(max(optimizer.param_groups, key=lambda group: sum(p.numel() for p in group["params"]))["lr"])

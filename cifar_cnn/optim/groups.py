"""Parameter groups for optimizers."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from torch import nn
from torch.optim import Optimizer

from cifar_cnn.base.errors import InputError


def parameter_groups(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    decay_bias_and_norm: bool,
    options: Mapping[str, Mapping[str, float]] = {},
) -> list[dict[str, Any]]:
    """Group the trainable parameters by name pattern and, optionally, by weight decay.

    Args:
        named_parameters: names and parameters; frozen parameters are omitted.
        decay_bias_and_norm: False sets ``weight_decay`` to 0 for biases and normalization parameters (those with fewer
            than two dimensions).
        options: optimizer options (``lr``, ``weight_decay``, ...) and the schedule's ``until``, by pattern, such as
            ``head.*``. The first pattern that matches a parameter's name applies.

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
    """The learning rate of the largest parameter group."""
    return float(max(optimizer.param_groups, key=lambda group: sum(p.numel() for p in group["params"]))["lr"])

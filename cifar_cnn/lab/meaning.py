"""Recognize an operation by its values if the name of its function is not enough.

``x * (x > 0)`` and ``torch.where(x > 0, x, 0)`` are a ReLU, ``F.dropout(x, 0)`` changes nothing, and
``x.flatten(2).topk(1)`` is a global max pooling.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

_MAY_BE_RELU = ("mul", "where", "threshold", "masked_fill", "maximum", "fmax", "max", "setitem")
_MAY_DO_NOTHING = ("add", "radd", "mul", "rmul", "div", "truediv", "dropout", "dropout2d")
_MAY_BE_GLOBAL_MAX = ("topk", "adaptive_max_pool1d", "max_pool1d")
NAMES = frozenset((*_MAY_BE_RELU, *_MAY_DO_NOTHING, *_MAY_BE_GLOBAL_MAX))


def kind_by_values(name: str, output: Tensor, inputs: Sequence[Tensor]) -> tuple[str, int]:
    """The kind of an operation and the index of its main input; an empty kind if the values are not enough.

    Args:
        name: name of the function, without underscores around it.
        output: output of the operation.
        inputs: values of the inputs before the operation.
    """
    for at, each in enumerate(inputs):
        if name in _MAY_BE_RELU and _is_relu(output, each):
            return "relu", at
        if name in _MAY_BE_GLOBAL_MAX and each.ndim > 2 and _equal(output.flatten(), each.flatten(2).amax(2).flatten()):
            return "global_max", at
    if name in _MAY_DO_NOTHING and len(inputs) == 1 and _equal(output, inputs[0]):
        return "reshape", 0
    return "", 0


def _is_relu(output: Tensor, values: Tensor) -> bool:
    return values.is_floating_point() and bool((values < 0).any()) and _equal(output, values.clamp(min=0))


def _equal(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and torch.equal(first, second)

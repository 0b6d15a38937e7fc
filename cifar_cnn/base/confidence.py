"""How sure a network is of its predictions."""

import math

from torch import Tensor


def least_confident(logits: Tensor, fraction: float) -> Tensor:
    """The indices of the least confident images, a fraction of all, rounded up: int64, (M,)."""
    order = logits.float().softmax(1).amax(1).argsort(stable=True)
    return order[: math.ceil(fraction * len(logits))]

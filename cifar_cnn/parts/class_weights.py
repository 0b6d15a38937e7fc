"""Losses with a weight for each class, given as numbers or computed from the training labels."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cifar_cnn.base.errors import InputError
from cifar_cnn.parts.recording import remember_arguments


def balanced_weights(counts: Tensor) -> Tensor:
    """Weights with which each class has the same share of the loss: n / (k * count), as "balanced" in scikit-learn.

    Args:
        counts: int64, (C,); number of training images of each class. n is their sum, k the number of classes that have
            images.

    Returns:
        float32, (C,); 1 for a class without images.
    """
    weights = counts.sum() / (counts.count_nonzero() * counts.double())
    return torch.where(counts > 0, weights, 1.0).float()


class ClassWeights(nn.Module):
    """Base of losses with class weights.

    Args:
        weight: a weight for each class; ``balanced`` computes them with :func:`balanced_weights` when a fit starts, and
            checkpoints contain them.

    Attributes:
        weight: a buffer, (C,); None without weights, and for ``balanced`` before the fit.
    """

    weight: Tensor | None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        remember_arguments(cls)

    def __init__(self, weight: Sequence[float] | Literal["balanced"] | None = None) -> None:
        super().__init__()
        if isinstance(weight, str) and weight != "balanced":
            raise InputError(f'weight must be a number for each class, or "balanced"; it is {weight!r}')
        self.balanced = weight == "balanced"
        given = torch.tensor(weight) if weight is not None and not self.balanced else None
        self.register_buffer("weight", given, persistent=self.balanced)
        self.register_load_state_dict_pre_hook(_make_room)

    def set_class_counts(self, counts: Tensor) -> None:
        """Compute the weights from the number of training images of each class: int64, (C,)."""
        if self.balanced:
            self.weight = balanced_weights(counts)


def names_of_weights(model: nn.Module) -> set[str]:
    """The names in a state_dict of the balanced weights of a model's losses, which exist only once a fit has begun."""
    return {
        f"{name}.weight" for name, each in model.named_modules() if isinstance(each, ClassWeights) and each.balanced
    }


def _make_room(loss: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Create the buffer into which the weights in a checkpoint are loaded."""
    saved = state_dict.get(f"{prefix}weight")
    if isinstance(loss, ClassWeights) and loss.balanced and loss.weight is None and saved is not None:
        loss.weight = torch.empty_like(saved)

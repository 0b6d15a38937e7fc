"""Targets of mixed images: probabilities (N, num_classes) instead of class indices (N,)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cifar_cnn.base.errors import InputError


def largest_class(targets: Tensor) -> Tensor:
    """Class indices, (N,): those given, or the most probable class of each row of (N, num_classes)."""
    return targets.argmax(1) if targets.ndim > 1 else targets


def loss_of(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor) -> Tensor:
    """Compute a loss for class indices (N,) or for the probabilities (N, num_classes) of mixed images.

    A loss that fails for probabilities is computed for class indices, as in the MixUp paper: once for each of the two
    classes of an image, weighted by their probabilities.

    Raises:
        InputError: the loss fails for probabilities, and the images are not mixed in pairs with the same weights.
    """
    if targets.ndim == 1:
        return loss(logits, targets)
    try:
        return loss(logits, targets.to(logits.dtype))
    except (IndexError, RuntimeError, TypeError, ValueError):
        return _loss_of_pairs(loss, logits, targets)


def _loss_of_pairs(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor) -> Tensor:
    weights, classes = targets.topk(min(2, targets.shape[1]), 1)
    weight, first, second = weights[:, 0].min(), classes[:, 0], classes[:, -1]
    alone = weights[:, 0] > (1 + weight) / 2  # mixed with an image of the same class
    expected = torch.where(alone, 1.0, weight)
    is_pair = torch.isclose(weights.sum(1), weights.new_ones(())) & torch.isclose(weights[:, 0], expected, atol=1e-5)
    if not bool(is_pair.all()):
        raise InputError(
            "the loss accepts only class indices, but data.augment.mix gives each image other weights: use a loss "
            "that accepts probabilities (N, num_classes), such as torch.nn.CrossEntropyLoss"
        )
    return weight * loss(logits, first) + (1 - weight) * loss(logits, torch.where(alone, first, second))


def class_titles(labels: Tensor, names: Sequence[str]) -> list[str]:
    """The class of each image; of a mixed image its classes, the most probable first, such as ``cat + dog``."""
    if labels.ndim == 1:
        return [names[label] for label in labels.tolist()]
    rows = [sorted(enumerate(row), key=lambda each: -each[1]) for row in labels.tolist()]
    return [" + ".join(names[index] for index, share in row if share > 0) for row in rows]

"""Checks of the tensors and options of the cross-entropy."""

import torch
from torch import Tensor

from cifar_cnn.base.errors import InputError


def check_options(reduction: str, label_smoothing: float) -> None:
    """Check the options of a cross-entropy.

    Raises:
        InputError: an option is invalid.
    """
    if reduction not in ("mean", "sum", "none"):
        raise InputError(f'reduction must be "mean", "sum" or "none", not {reduction!r}')
    if not 0 <= label_smoothing <= 1:
        raise InputError(f"label_smoothing must lie in [0, 1], not {label_smoothing}")


def check_tensors(prediction: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int) -> None:
    """Check the shapes and types of a cross-entropy's tensors.

    Raises:
        InputError: a shape or type is invalid, or the shapes do not match.
    """
    shape = tuple(prediction.shape)
    given = f"prediction {shape} {prediction.dtype}, target {tuple(target.shape)} {target.dtype}"
    class_dim = min(len(shape) - 1, 1)
    if not shape or shape[class_dim] == 0:
        raise InputError(f"prediction must be (N, C), (C,) or (N, C, d1, ...) with at least one class: {given}")
    if not prediction.is_floating_point():
        raise InputError(f"prediction must hold floating-point logits: {given}")

    index_shape = shape[:class_dim] + shape[class_dim + 1 :]
    if target.shape == shape:
        if not target.is_floating_point():
            raise InputError(f"a target shaped as prediction must hold floating-point probabilities: {given}")
        if ignore_index >= 0:
            raise InputError(f"ignore_index {ignore_index} needs class indices, not probabilities: {given}")
    elif target.shape != index_shape:
        raise InputError(f"target must be {index_shape} (class indices) or {shape} (class probabilities): {given}")
    elif target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        raise InputError(f"class indices must be integers: {given}")

    if weight is not None and weight.shape != (shape[class_dim],):
        raise InputError(f"weight must be ({shape[class_dim]},), one per class, not {tuple(weight.shape)}: {given}")

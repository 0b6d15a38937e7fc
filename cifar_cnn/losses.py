"""Losses: cross-entropy from its definition (exercise 5 of the lab), and functions as modules."""

import inspect
import pkgutil
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from cifar_cnn.errors import InputError

Reduction = Literal["mean", "sum", "none"]


def cross_entropy(
    prediction: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross-entropy between logits and the classes they should predict.

    With logits x, class weights w (1 if not given), C classes and smoothing e, the loss of one image is::

        loss = - sum_c  w_c * q_c * log p_c        p = softmax(x),  p_c = exp(x_c) / sum_k exp(x_k)
                                                   q_c = (1 - e) * t_c + e / C

    where t is the target distribution: 1 at class y and 0 elsewhere for a class index y, else the given
    probabilities.
    "mean" divides the summed losses by their number for probabilities, and for class indices by the summed
    weights w_y of the targets y that are not ignored. With every target ignored, that is 0 / 0 = nan.

    Args:
        prediction: logits, (N, C), (C,) or (N, C, d1, ...); half precision is computed in float32.
        target: class indices in [0, C), (N,), () or (N, d1, ...), or probabilities, shaped as `prediction`.
        weight: (C,), a weight for each class.
        ignore_index: a class index whose positions have no loss and no gradient; for class indices only.
        reduction: "mean" and "sum" give a scalar, "none" gives the losses in the shape of class indices.
        label_smoothing: e, in [0, 1].

    A class index outside [0, C) is an error: "index 10 is out of bounds ...", on a GPU a device-side assert.

    Source: `torch.nn.CrossEntropyLoss` for the definition; Goodfellow et al., Deep Learning (2016), section
    4.1, for the stable softmax; Szegedy et al., arXiv:1512.00567, section 7, for label smoothing.
    """
    _check_options(reduction, label_smoothing)
    _check_tensors(prediction, target, weight, ignore_index)
    class_dim = min(prediction.dim() - 1, 1)  # 0 for (C,)
    classes = prediction.shape[class_dim]

    result_dtype = torch.promote_types(prediction.dtype, target.dtype)
    dtype = torch.promote_types(result_dtype, torch.float32)
    log_p = _log_softmax(prediction.to(dtype), class_dim)
    weight = log_p.new_ones(classes) if weight is None else weight.to(dtype)
    # (C, 1, ...): lines up with the class dimension of log_p
    weighted_log_p = log_p * weight.view(-1, *[1] * (prediction.dim() - class_dim - 1))

    divisor: Tensor | int
    if target.shape == prediction.shape:
        q = (1 - label_smoothing) * target.to(dtype) + label_smoothing / classes
        losses = -(q * weighted_log_p).sum(class_dim)
        divisor = losses.numel()
    else:
        target = target.long()
        ignored = target == ignore_index
        # ignore_index may not be a class: class 0 stands in, and the mask below removes its loss
        y = target.masked_fill(ignored, 0)
        losses = -weighted_log_p.gather(class_dim, y.unsqueeze(class_dim)).squeeze(class_dim)
        if label_smoothing > 0:
            losses = (1 - label_smoothing) * losses - label_smoothing * weighted_log_p.mean(class_dim)
        losses = losses.masked_fill(ignored, 0)
        divisor = weight.take(y).masked_fill(ignored, 0).sum()

    if reduction == "mean":
        loss = losses.sum() / divisor
    elif reduction == "sum":
        loss = losses.sum()
    else:
        loss = losses
    return loss if _is_autocast_enabled(prediction.device.type) else loss.to(result_dtype)


class CrossEntropyLoss(nn.Module):
    """`cross_entropy` as a module, for use in a config.

    Args:
        weight: a weight for each class; it follows the module's device, and checkpoints do not contain it.
        ignore_index: a class index whose positions have no loss and no gradient.
        reduction: "mean", "sum" or "none".
        label_smoothing: the fraction of the target, in [0, 1], that is spread evenly over all classes.
    """

    weight: Tensor | None

    def __init__(
        self,
        weight: list[float] | None = None,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        _check_options(reduction, label_smoothing)
        self.register_buffer("weight", None if weight is None else torch.tensor(weight), persistent=False)
        self.ignore_index = ignore_index
        self.reduction: Reduction = reduction
        self.label_smoothing = label_smoothing

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Logits (N, C), (C,) or (N, C, d1, ...) and class indices or probabilities to the loss."""
        return cross_entropy(
            prediction,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class LossFunction(Protocol):
    """A function from logits (N, C) and class indices (N,) to a scalar, such as torch's ``cross_entropy``."""

    def __call__(self, prediction: Tensor, target: Tensor, /) -> Tensor:
        """The loss."""
        ...


class FunctionLoss(nn.Module):
    """A function of (logits, target) as a module, for use in configs and checkpoints.

    Args:
        function: the function, or its import path such as ``torch.nn.functional.cross_entropy``.
        options: further arguments of the function, by name.

    Raises:
        InputError: the function cannot be called with logits, target and these options.
    """

    def __init__(self, function: str | LossFunction, options: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.function = pkgutil.resolve_name(function) if isinstance(function, str) else function
        self.name = function if isinstance(function, str) else getattr(function, "__qualname__", repr(function))
        self.options = options or {}
        if isinstance(self.function, type) or not callable(self.function):
            raise InputError(f"a loss is a module or a function of (logits, target), not {self.name}")
        try:
            signature = inspect.signature(self.function)
        except ValueError:  # a built-in function without one
            return
        try:
            signature.bind(None, None, **self.options)
        except TypeError as error:
            given = ", ".join(["logits", "target", *(f"{name}={value}" for name, value in self.options.items())])
            hint = f"its arguments are {signature}"
            if not signature.parameters:
                hint = "if it makes a loss, say what it returns: def f() -> torch.nn.Module"
            raise InputError(f"loss: {self.name} cannot be called with ({given}): {error}; {hint}") from error

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Logits (N, C) and class indices (N,) to a scalar."""
        return self.function(prediction, target, **self.options)

    def extra_repr(self) -> str:
        """The function and its options."""
        return ", ".join([self.name, *(f"{name}={value}" for name, value in self.options.items())])


def as_module(loss: nn.Module | LossFunction | None) -> nn.Module:
    """Make a module of a loss; None gives torch's cross-entropy.

    Raises:
        InputError: the loss is neither a module nor a function of (logits, target).
    """
    if loss is None:
        return nn.CrossEntropyLoss()
    return loss if isinstance(loss, nn.Module) else FunctionLoss(loss)


def name_of_loss(loss: Any) -> str:
    """The name of a function, or of a module's class."""
    if isinstance(loss, FunctionLoss):
        return loss.name
    return getattr(loss, "__name__", type(loss).__name__)


def _log_softmax(x: Tensor, dim: int) -> Tensor:
    # Softmax does not change when a constant is added to all logits. With the largest at 0, exp cannot overflow and
    # the sum is at least 1. The shift does not change the result, so it has no gradient: detach.
    shifted = x - x.detach().amax(dim, keepdim=True)
    return shifted - shifted.exp().sum(dim, keepdim=True).log()


def _is_autocast_enabled(device: str) -> bool:
    # autocast keeps losses in float32; asking about a device that it does not know ("meta") is an error
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def _check_options(reduction: str, label_smoothing: float) -> None:
    if reduction not in ("mean", "sum", "none"):
        raise InputError(f'reduction must be "mean", "sum" or "none", not {reduction!r}')
    if not 0 <= label_smoothing <= 1:
        raise InputError(f"label_smoothing must lie in [0, 1], not {label_smoothing}")


def _check_tensors(prediction: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int) -> None:
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

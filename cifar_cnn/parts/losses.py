"""Functions of (logits, target) as losses."""

import inspect
import pkgutil
from typing import Any, Protocol

from torch import Tensor, nn

from cifar_cnn.base.errors import InputError


class LossFunction(Protocol):
    """A function from logits (N, C) and class indices (N,) to a scalar, such as torch's ``cross_entropy``."""

    def __call__(self, prediction: Tensor, target: Tensor, /) -> Tensor:
        """The loss."""
        ...


class FunctionLoss(nn.Module):
    """Wrap a function of (logits, target) as a module, for use in configs and checkpoints.

    Args:
        function: the function or its import path, such as ``torch.nn.functional.cross_entropy``.
        options: additional keyword arguments of the function.

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
        except ValueError:  # a built-in function without a signature
            return
        try:
            signature.bind(None, None, **self.options)
        except TypeError as error:
            given = ", ".join(["logits", "target", *(f"{name}={value}" for name, value in self.options.items())])
            hint = f"its arguments are {signature}"
            if not signature.parameters:
                hint = "if it returns a loss module, annotate its return type: def f() -> torch.nn.Module"
            raise InputError(f"loss: {self.name} cannot be called with ({given}): {error}; {hint}") from error

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of logits (N, C) and class indices (N,): a scalar."""
        return self.function(prediction, target, **self.options)

    def extra_repr(self) -> str:
        """The function and its options."""
        return ", ".join([self.name, *(f"{name}={value}" for name, value in self.options.items())])


def as_module(loss: nn.Module | LossFunction | None) -> nn.Module:
    """Convert a loss to a module; None gives torch's cross-entropy.

    Raises:
        InputError: the loss is neither a module nor a function of (logits, target).
    """
    if loss is None:
        return nn.CrossEntropyLoss()
    return loss if isinstance(loss, nn.Module) else FunctionLoss(loss)


def name_of_loss(loss: Any) -> str:
    """The name of a loss function, or of the class of a loss module."""
    if isinstance(loss, FunctionLoss):
        return loss.name
    return getattr(loss, "__name__", type(loss).__name__)

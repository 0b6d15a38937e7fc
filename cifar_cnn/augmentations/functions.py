"""Transforms of images as parts of a config: modules, functions, and classes with ``__call__``."""

import pkgutil
from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any, Protocol, TypeAlias

from torch import Tensor, nn
from torchvision.transforms import v2

from cifar_cnn.base.errors import InputError


class ImageFunction(Protocol):
    """A callable that maps an image (C, H, W) to one of the same shape and dtype."""

    def __call__(self, image: Tensor, /) -> Tensor:
        """The transformed image."""
        ...


# The first type lets a config name torchvision's transforms by class name: v1 has classes of the same names.
Transforms: TypeAlias = list[v2.Transform | nn.Module | ImageFunction] | v2.Transform | nn.Module | ImageFunction | None


class FunctionTransform(nn.Module):
    """Wrap a function, or a class with ``__call__``, as a module, for use in configs and checkpoints.

    Args:
        function: a function of an image, a callable object, or the import path of a function or class.
        options: additional keyword arguments of the function, or the arguments of the class.

    Raises:
        InputError: the function cannot be called.
    """

    def __init__(self, function: str | ImageFunction, options: dict[str, Any] | None = None) -> None:
        super().__init__()
        found: Any = pkgutil.resolve_name(function) if isinstance(function, str) else function
        own_name = getattr(function, "__qualname__", type(function).__name__)
        self.name = function if isinstance(function, str) else own_name
        self.function = function
        self.options = options or {}
        if not callable(found):
            raise InputError(f"a transform must be a module, a function or a callable object, not {found!r:.60}")
        is_class = isinstance(found, type)
        try:
            signature(found).bind(*([] if is_class else [None]), **self.options)
        except TypeError as error:
            raise InputError(f"data.augment: {self.name}{signature(found)} cannot be called: {error}") from error
        except ValueError:  # a built-in function without a signature
            pass
        self.call: Callable[[Tensor], Tensor] = found(**self.options) if is_class else partial(found, **self.options)

    def forward(self, image: Tensor) -> Tensor:
        """Transform an image (C, H, W)."""
        return self.call(image)

    def extra_repr(self) -> str:
        """The function and its options."""
        return ", ".join([self.name, *(f"{name}={value}" for name, value in self.options.items())])


def as_modules(transforms: Any) -> list[nn.Module]:
    """Convert None, a transform, or a list of transforms to a list of modules; other callables are wrapped.

    Raises:
        InputError: a transform cannot be called.
    """
    given = [] if transforms is None else transforms if isinstance(transforms, (list, tuple)) else [transforms]
    return [each if isinstance(each, nn.Module) else FunctionTransform(each) for each in given]


def name_of(transform: nn.Module) -> str:
    """The name of a transform for messages."""
    return transform.name if isinstance(transform, FunctionTransform) else type(transform).__name__

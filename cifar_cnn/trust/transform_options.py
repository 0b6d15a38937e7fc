"""Accept a function, or a class with ``__call__``, as a transform of images in a config.

It becomes a :class:`cifar_cnn.augmentations.FunctionTransform`.
"""

from argparse import ArgumentError
from typing import Any

from jsonargparse import ArgumentParser, Namespace
from jsonargparse.typing import register_type
from torch import nn

from cifar_cnn.augmentations import FunctionTransform, ImageFunction
from cifar_cnn.trust.loss_options import is_never_a_value, loss_function, path_and_arguments

CLASS_PATH = f"{FunctionTransform.__module__}.{FunctionTransform.__qualname__}"


def image_function(path: Any) -> Any:
    """Import a function or a class with ``__call__`` under the current rules of :mod:`cifar_cnn.trust.names`.

    Raises:
        ValueError: the path is not allowed or does not exist, or it names another object.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--class", type=type)
    try:
        found = parser.parse_object({"class": path})["class"]
    except (ArgumentError, AttributeError, ImportError):
        return loss_function(path)  # not a class, or it does not exist
    if issubclass(found, nn.Module) or "__call__" not in dir(found):
        raise ValueError(f"{path} is a module or has no __call__(self, image)")
    return found


def is_image_function(path: Any) -> bool:
    """Whether :func:`image_function` accepts a path."""
    try:
        image_function(path)
    except ValueError:
        return False
    return True


def as_spec(value: Any) -> Namespace:
    """Describe a function or class as a FunctionTransform in a config.

    Args:
        value: its import path, or a mapping with ``class_path`` and arguments.

    Raises:
        ValueError: the value does not name a function or a class with ``__call__``.
    """
    path, arguments = path_and_arguments(value)
    image_function(path)
    return Namespace(class_path=CLASS_PATH, init_args=Namespace(function=path, options=arguments))


def _as_text(value: Any) -> str:
    raise ValueError("give a FunctionTransform as class_path and init_args, like any module")


register_type(ImageFunction, _as_text, as_spec, type_check=is_never_a_value)

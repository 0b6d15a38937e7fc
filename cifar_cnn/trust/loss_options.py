"""Accept a function as the loss of a config: it becomes a :class:`cifar_cnn.parts.losses.FunctionLoss`."""

import inspect
from argparse import ArgumentError
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, get_type_hints

from jsonargparse import ArgumentParser, Namespace
from jsonargparse.typing import register_type
from torch import nn

from cifar_cnn.parts.losses import FunctionLoss, LossFunction

CLASS_PATH = f"{FunctionLoss.__module__}.{FunctionLoss.__qualname__}"


def loss_function(path: str) -> Any:
    """Import a function of (logits, target) under the current rules of :mod:`cifar_cnn.trust.names`.

    Raises:
        ValueError: the path is not allowed or does not exist, or it names a class, a function that returns a
            module, or an object that is not callable.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--function", type=Callable)
    try:
        found = parser.parse_object({"function": path}).function
    except ArgumentError as error:
        raise ValueError(str(error)) from error
    if isinstance(found, Namespace) or makes_a_module(found):
        raise ValueError(f"{path} is not a function of (logits, target)")
    return found


def makes_a_module(function: Any) -> bool:
    """Whether a function is annotated to return an nn.Module; decorators are ignored."""
    function = inspect.unwrap(function)
    annotation = getattr(function, "__annotations__", {}).get("return")
    try:  # only this annotation: others may name types that are imported only for type checking
        names = getattr(function, "__globals__", {})
        returned = get_type_hints(SimpleNamespace(__annotations__={"return": annotation}), names)["return"]
    except (NameError, TypeError, SyntaxError, AttributeError):
        return False
    return isinstance(returned, type) and issubclass(returned, nn.Module)


def as_spec(value: Any) -> Namespace:
    """Describe a loss function as a FunctionLoss in a config.

    Args:
        value: the import path of a function of (logits, target), or a mapping with ``class_path`` and arguments.

    Raises:
        ValueError: the value does not name such a function.
    """
    path, arguments = path_and_arguments(value)
    loss_function(path)
    return Namespace(class_path=CLASS_PATH, init_args=Namespace(function=path, options=arguments))


def path_and_arguments(value: Any) -> tuple[Any, dict[str, Any]]:
    """The import path and the arguments in a value that is either a path or a mapping with ``class_path``."""
    if isinstance(value, (Mapping, Namespace)) and "class_path" in value:
        return value["class_path"], {**(value.get("init_args") or {}), **(value.get("dict_kwargs") or {})}
    return value, {}


def is_never_a_value(value: Any, *_: Any) -> bool:
    """Let a registered type accept only what its deserializer accepts."""
    return False


def _as_text(value: Any) -> str:
    raise ValueError("give a FunctionLoss as class_path and init_args, like any module")


register_type(LossFunction, _as_text, as_spec, type_check=is_never_a_value)

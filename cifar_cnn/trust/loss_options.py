"""A function as the option ``--model.loss``: the command line makes a :class:`cifar_cnn.losses.FunctionLoss` of it."""

import inspect
from argparse import ArgumentError
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, get_type_hints

from jsonargparse import ArgumentParser, Namespace
from jsonargparse.typing import register_type
from torch import nn

from cifar_cnn.losses import FunctionLoss, LossFunction

CLASS_PATH = f"{FunctionLoss.__module__}.{FunctionLoss.__qualname__}"


def loss_function(path: str) -> Any:
    """Import a function of (logits, target), by the rules in force (see :mod:`cifar_cnn.trust.names`).

    Raises:
        ValueError: the path must not be imported or does not exist, or it names a class, a function that makes a
            module, or nothing callable.
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
    """Whether a function is annotated to return an nn.Module, whatever decorates it: it is a class_path then."""
    function = inspect.unwrap(function)
    annotation = getattr(function, "__annotations__", {}).get("return")
    try:  # it alone: the others may be for the type checker
        names = getattr(function, "__globals__", {})
        returned = get_type_hints(SimpleNamespace(__annotations__={"return": annotation}), names)["return"]
    except (NameError, TypeError, SyntaxError, AttributeError):
        return False
    return isinstance(returned, type) and issubclass(returned, nn.Module)


def as_spec(value: Any) -> Namespace:
    """The FunctionLoss that stands in a config for a function of (logits, target), given by its path alone or as a
    ``class_path`` with arguments.

    Raises:
        ValueError: it is something else.
    """
    arguments: dict[str, Any] = {}
    if isinstance(value, (Mapping, Namespace)) and "class_path" in value:
        arguments = {**(value.get("init_args") or {}), **(value.get("dict_kwargs") or {})}
        value = value["class_path"]
    loss_function(value)
    return Namespace(class_path=CLASS_PATH, init_args=Namespace(function=value, options=arguments))


def _is_never_a_value(value: Any, *_: Any) -> bool:
    return False


def _as_text(value: Any) -> str:
    raise ValueError("give a FunctionLoss as class_path and init_args, like any module")


register_type(LossFunction, _as_text, as_spec, type_check=_is_never_a_value)

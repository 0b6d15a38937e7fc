"""Record Python objects, such as a network or a loss, as plain data: class path and arguments.

A config names parts by ``class_path`` and ``init_args``; in Python, parts are objects. Checkpoints and config.yaml
contain the same plain data in both cases, so that a run that was started in Python can be loaded like any other.
"""

import dataclasses
import enum
import functools
import inspect
import os
import random
import sys
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

T = TypeVar("T", bound=type)
_ARGUMENTS = "_init_arguments"


class NotRecordable(ValueError):
    """An object cannot be rebuilt from plain data; the message gives the reason."""


def remember_arguments(cls: T) -> T:
    """Class decorator that stores the arguments of ``__init__`` in each instance, for :func:`record`."""
    make = cls.__init__  # type: ignore[misc]

    @functools.wraps(make)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        if type(self).__init__ is init:  # not in a subclass that overrides __init__
            given = inspect.signature(make).bind(self, *args, **kwargs).arguments
            setattr(self, _ARGUMENTS, {name: value for name, value in list(given.items())[1:]})

    cls.__init__ = init  # type: ignore[misc]
    return cls


def record(value: Any) -> Any:
    """Convert a value to plain data.

    Args:
        value: plain data, an enum member, a path, a dataclass, a function or class, a ``functools.partial`` of
            either, or an object such as an ``nn.Module``. The arguments of an object are those that
            :func:`remember_arguments` has stored; otherwise they are read from attributes with the names of the
            arguments, and accepted only if an object rebuilt from them is equal.

    Returns:
        Plain data; for an object, a mapping with ``class_path`` and, if there are arguments, ``init_args``.

    Raises:
        NotRecordable: the class cannot be imported by name, or its arguments are unknown.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value.name if isinstance(value, enum.Enum) else value
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {record(key): record(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [record(each) for each in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: record(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, functools.partial):
        if value.args:
            raise NotRecordable(f"a partial of {value.func.__name__} with positional arguments")
        return _part(import_path(value.func), record(value.keywords))
    if isinstance(value, type) or inspect.isroutine(value):
        return import_path(value)
    return _record_object(value)


def record_known(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Convert the recordable arguments to plain data.

    Returns:
        The plain data, and for each of the other arguments the reason why it cannot be recorded.
    """
    known, unknown = {}, {}
    for name, value in values.items():
        try:
            known[name] = record(value)
        except NotRecordable as error:
            unknown[name] = str(error)
    return known, unknown


def keep_plain(arguments: MutableMapping[str, Any], cls: type) -> dict[str, str]:
    """Replace arguments with plain data, in place; remove those that cannot be recorded.

    Args:
        arguments: values by argument name.
        cls: the class that takes the arguments.

    Returns:
        For each removed argument the reason. Defaults of the class are not listed, because they need no record.
    """
    known, unknown = record_known(arguments)
    parameters = inspect.signature(cls).parameters
    own = [name for name in unknown if name in parameters and arguments[name] is parameters[name].default]
    arguments.clear()
    arguments.update(known)
    return {name: reason for name, reason in unknown.items() if name not in own}


def import_path(part: Callable[..., Any]) -> str:
    """The dotted name by which a class or function can be imported.

    Raises:
        NotRecordable: there is none, as for a lambda or a part that is defined in a notebook or in a function.
    """
    name = f"{part.__module__}.{part.__qualname__}"
    found: Any = sys.modules.get(part.__module__)
    for attribute in part.__qualname__.split("."):
        found = getattr(found, attribute, None)
    if part.__module__ == "__main__" or found is not part:
        where = "in this notebook or script" if part.__module__ == "__main__" else "where it cannot be imported from"
        raise NotRecordable(f"{part.__qualname__} is defined {where}")
    return name


def _part(class_path: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"class_path": class_path, "init_args": arguments} if arguments else {"class_path": class_path}


def _record_object(value: Any) -> dict[str, Any]:
    cls = type(value)
    class_path = import_path(cls)
    if hasattr(value, _ARGUMENTS):
        return _part(class_path, record(getattr(value, _ARGUMENTS)))
    arguments = {}
    for name, parameter in list(inspect.signature(cls.__init__).parameters.items())[1:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if hasattr(value, name):
            arguments[name] = getattr(value, name)
        elif parameter.default is parameter.empty:
            raise NotRecordable(f"the argument {name} of {cls.__qualname__} is not kept as self.{name}")
    given = {}
    for name, argument in arguments.items():
        try:
            given[name] = record(argument)
        except NotRecordable:  # the attribute may have another meaning: try the argument's default
            arguments = {key: each for key, each in arguments.items() if key != name}
    if not _alike(value, _rebuilt(cls, arguments)):
        raise NotRecordable(f"{cls.__qualname__} cannot be rebuilt from its attributes")
    return _part(class_path, given)


def _rebuilt(cls: type, arguments: dict[str, Any]) -> Any:
    """Create an object of the class; the state of the random number generators does not change."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            return cls(**arguments)
    except Exception as error:  # the class's own
        raise NotRecordable(f"{cls.__qualname__} cannot be rebuilt from its attributes: {error}") from error
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def _alike(one: Any, other: Any) -> bool:
    """Whether two objects are equal, apart from the values of their weights."""
    if type(one) is not type(other):
        return False
    if isinstance(one, nn.Module):
        shapes = [{name: _shape(tensor) for name, tensor in each.state_dict().items()} for each in (one, other)]
        pairs = list(zip(one.modules(), other.modules(), strict=False))
        same = shapes[0] == shapes[1] and str(one) == str(other)
        return same and all(_same_attributes(a, b) for a, b in pairs)
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_alike, one, other))
    if type(one).__eq__ is object.__eq__ and hasattr(one, "__dict__"):
        return one is other or (inspect.isroutine(one) is False and _alike(vars(one), vars(other)))
    return bool(one == other)


def _shape(tensor: Tensor) -> torch.Size | None:
    """The shape; None for a lazy layer's parameter, which has no shape before the first forward."""
    return None if is_lazy(tensor) else tensor.shape


def _same_attributes(one: nn.Module, other: nn.Module) -> bool:
    """Whether the attributes that two modules' classes have set are equal; mode, weights and hooks are ignored."""
    internal = set(vars(nn.Module())) | {_ARGUMENTS}
    mine, theirs = ({k: v for k, v in vars(each).items() if k not in internal} for each in (one, other))
    return _alike(mine, theirs)

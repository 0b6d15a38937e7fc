"""Record the arguments of a class in configs and checkpoints, if they can be read back as the same value.

A default can be any object: a lambda, a ``functools.partial``, a module. jsonargparse writes a value that it cannot
serialize as a sentence, which cannot be parsed again. An argument with such a default is therefore recorded only if the
user passes it. Otherwise it is omitted, and the class applies its own default.
"""

import inspect
import warnings
from argparse import SUPPRESS
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
import yaml
from jsonargparse import ArgumentParser, Namespace
from jsonargparse.typing import register_type

from cifar_cnn.base.errors import InputError


def _dtype(name: str) -> torch.dtype:
    value = getattr(torch, str(name).removeprefix("torch."), None)
    if not isinstance(value, torch.dtype):
        raise ValueError(f"there is no torch.dtype {name}")
    return value


# Types that a config stores as text.
register_type(torch.device)
register_type(torch.dtype, deserializer=_dtype)


class RecordingParser(ArgumentParser):
    """A parser that omits defaults which could not be read back from a config, for nested classes too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._adders: dict[str, _Adder] = {}  # by argument: adds this argument alone to another parser
        super().__init__(*args, **kwargs)

    def add_class_arguments(self, theclass: type, *args: Any, **kwargs: Any) -> list[str]:
        """Add the arguments of a class, without defaults that cannot be serialized."""
        added = super().add_class_arguments(theclass, *args, **kwargs)
        return self._check(added, ArgumentParser.add_class_arguments, theclass, *args, **kwargs)

    def add_function_arguments(self, function: Callable, *args: Any, **kwargs: Any) -> list[str]:
        """Add the arguments of a function, without defaults that cannot be serialized."""
        added = super().add_function_arguments(function, *args, **kwargs)
        return self._check(added, ArgumentParser.add_function_arguments, function, *args, **kwargs)

    def dump(self, namespace: Namespace, *args: Any, **kwargs: Any) -> str:
        """Serialize arguments as text.

        Raises:
            InputError: an argument cannot be serialized.
        """
        for name in self._adders:
            value = namespace.get(name)
            if not all(map(_is_plain, _leaves(value))) and not self._reads_back(name, value):
                raise InputError(
                    f"{name}: {' '.join(repr(value).split())[:100]} cannot be recorded in the run's config, so "
                    "no command could use the run; pass plain values, or a class or function by its import path"
                )
        return super().dump(namespace, *args, **kwargs)

    def _check(self, added: list[str], add: Callable, component: Any, *args: Any, **kwargs: Any) -> list[str]:
        group = args[0] if args else kwargs.get("nested_key")  # None for a class that an argument names
        names = {dest: dest.removeprefix(f"{group}.").split(".")[0] for dest in added}

        def adder(dest: str) -> "_Adder":
            skip = {*(kwargs.get("skip") or ()), *names.values()} - {names[dest]}
            return _Adder(add, component, args, {**kwargs, "skip": skip})

        self._adders |= {dest: adder(dest) for dest in added}
        own = inspect.signature(component).parameters
        defaults: Mapping[str, Any] | Namespace = {dest: self._stated_default(dest) for dest in added}
        if not all(map(_is_plain, defaults.values())):  # jsonargparse describes classes as class_path and init_args
            defaults = self.get_defaults(skip_validation=True)
        for dest in added:
            default = defaults.get(dest)
            # An argument that a class passes on as **kwargs shows the default of the other class, although the first
            # may pass another value. jsonargparse would turn a default that is a class into a partial, which cannot be
            # called like the class.
            if isinstance(default, Namespace) and not _is_class(default):
                continue  # a dataclass: its fields are separate arguments
            foreign = group is None and (names[dest] not in own or _is_class(default))
            if foreign or not (_is_plain(default) or self._reads_back(dest, default)):
                self.set_defaults({dest: SUPPRESS})
        return added

    def _stated_default(self, dest: str) -> Any:
        """The default of an argument as its class states it; None without one."""
        try:
            return self.get_default(dest)
        except KeyError:
            return None

    def _reads_back(self, name: str, value: Any) -> bool:
        """Whether a value is unchanged after writing and reading it; for a class, whether it can be read at all."""
        parser = type(self)(exit_on_error=False)
        self._adders[name](parser)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                text = ArgumentParser.dump(parser, Namespace({name: value}), skip_validation=True)
                read = parser.parse_object(yaml.safe_load(text), defaults=False).get(name)
            return _is_class(read) or (type(read) is type(value) and bool(read == value))
        except Exception:  # user classes can raise any exception when written, read or compared
            return False


class _Adder(NamedTuple):
    """Adds an argument to a parser; unlike a lambda, it can be sent to the processes of ddp_spawn."""

    add: Callable[..., Any]
    component: Any
    args: tuple
    kwargs: dict[str, Any]

    def __call__(self, parser: ArgumentParser) -> None:
        self.add(parser, self.component, *self.args, **self.kwargs)


def _is_class(value: Any) -> bool:
    return isinstance(value, (Namespace, dict)) and isinstance(value.get("class_path"), str)


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, dict) and not _is_class(value):
        return all(map(_is_plain, value.values()))
    return value is None or type(value) in (bool, int, float, str)


def _leaves(value: Any) -> Iterator[Any]:
    """The elements of a nested value; classes are skipped, because another parser checks their arguments."""
    parts: Iterable[Any]
    if isinstance(value, (Namespace, dict)):  # Namespace.values() would also give the arguments of nested classes
        parts = () if _is_class(value) else (vars(value) if isinstance(value, Namespace) else value).values()
    elif isinstance(value, (list, tuple, set)):
        parts = value
    else:
        yield value
        return
    for part in parts:
        yield from _leaves(part)

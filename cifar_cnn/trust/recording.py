"""What a config and a checkpoint record of the arguments of a class: everything that reads back as the same value.

A default can be anything: a lambda, a ``functools.partial``, a module. jsonargparse writes a value that it cannot
serialize as a sentence, which nothing can read back. An argument with such a default is therefore recorded only where
it is given; elsewhere the class's own default applies whenever the class is made.
"""

import inspect
import warnings
from argparse import SUPPRESS
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
import yaml
from jsonargparse import ArgumentParser, Namespace
from jsonargparse.typing import register_type

from cifar_cnn.errors import InputError


def _dtype(name: str) -> torch.dtype:
    value = getattr(torch, str(name).removeprefix("torch."), None)
    if not isinstance(value, torch.dtype):
        raise ValueError(f"there is no torch.dtype {name}")
    return value


# Arguments that the saved config must hold as text.
register_type(torch.device)
register_type(torch.dtype, deserializer=_dtype)


class RecordingParser(ArgumentParser):
    """A parser for arguments that are written down and read back, of its own and of the classes that they name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._adders: dict[str, _Adder] = {}  # by argument: add it alone to another parser
        super().__init__(*args, **kwargs)

    def add_class_arguments(self, theclass: type, *args: Any, **kwargs: Any) -> list[str]:
        """Add the arguments of a class; those with a default that cannot be written down have none here."""
        added = super().add_class_arguments(theclass, *args, **kwargs)
        return self._check(added, ArgumentParser.add_class_arguments, theclass, *args, **kwargs)

    def add_function_arguments(self, function: Callable, *args: Any, **kwargs: Any) -> list[str]:
        """Add the arguments of a function; those with a default that cannot be written down have none here."""
        added = super().add_function_arguments(function, *args, **kwargs)
        return self._check(added, ArgumentParser.add_function_arguments, function, *args, **kwargs)

    def dump(self, namespace: Namespace, *args: Any, **kwargs: Any) -> str:
        """Write arguments down as text.

        Raises:
            InputError: one was given that cannot be written down.
        """
        for name in self._adders:
            value = namespace.get(name)
            if not all(map(_is_plain, _leaves(value))) and not self._reads_back(name, value):
                raise InputError(
                    f"{name}: {' '.join(repr(value).split())[:100]} cannot be recorded in the run's config, so "
                    "no command could use the run: give plain values, or a class or function by its import path"
                )
        return super().dump(namespace, *args, **kwargs)

    def _check(self, added: list[str], add: Callable, component: Any, *args: Any, **kwargs: Any) -> list[str]:
        group = args[0] if args else kwargs.get("nested_key")  # None: of a class that an argument names
        names = {dest: dest.removeprefix(f"{group}.").split(".")[0] for dest in added}

        def adder(dest: str) -> "_Adder":
            skip = {*(kwargs.get("skip") or ()), *names.values()} - {names[dest]}
            return _Adder(add, component, args, {**kwargs, "skip": skip})

        self._adders |= {dest: adder(dest) for dest in added}
        own = inspect.signature(component).parameters
        defaults = self.get_defaults(skip_validation=True)
        for dest in added:
            default = defaults.get(dest)
            # What a class hands on as **kwargs has the default of another one, and it may hand on its own instead; of a
            # class as a default jsonargparse would make a partial, which cannot be called as the class can.
            if isinstance(default, Namespace) and not _is_class(default):
                continue  # a dataclass, whose fields are arguments of their own
            foreign = group is None and (names[dest] not in own or _is_class(default))
            if foreign or not (_is_plain(default) or self._reads_back(dest, default)):
                self.set_defaults({dest: SUPPRESS})
        return added

    def _reads_back(self, name: str, value: Any) -> bool:
        """Whether a value is the same one once it was written down and read back; of a class, whether it can be."""
        parser = type(self)(exit_on_error=False)
        self._adders[name](parser)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                text = ArgumentParser.dump(parser, Namespace({name: value}), skip_validation=True)
                read = parser.parse_object(yaml.safe_load(text), defaults=False).get(name)
            return _is_class(read) or (type(read) is type(value) and bool(read == value))
        except Exception:  # a class can refuse to be written, read or compared in any way
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
    """What a value is made of, but for classes, whose arguments another parser looks at."""
    parts: Iterable[Any]
    if isinstance(value, (Namespace, dict)):
        parts = () if _is_class(value) else dict(value.items()).values()
    elif isinstance(value, (list, tuple, set)):
        parts = value
    else:
        yield value
        return
    for part in parts:
        yield from _leaves(part)

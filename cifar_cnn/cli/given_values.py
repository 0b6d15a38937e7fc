"""Look up the values of an option on a command line and in its configs, before parsing."""

import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from cifar_cnn.runs import trained_as


def given(args: list[str], option: str) -> Any:
    """The last value of an option on a command line or in its configs; None if there is none.

    Args:
        args: the command line.
        option: an option, such as ``trainer.max_epochs``, or an argument of a class, such as ``model.optimizer.lr``.
    """
    values = [value for value in _values(args, option) if value is not None]
    return values[-1] if values else None


def chosen(args: list[str], option: str, default: Any = None) -> str | None:
    """The class or function that a command line or its configs select for an option.

    Args:
        args: the command line.
        option: an option, such as ``model.backbone``.
        default: the default of the option.

    Returns:
        The name as given, such as ``SimpleCNN``, or None.
    """
    paths = [path_in(default), *map(path_in, _values(args, option))]
    return next((path for path in reversed(paths) if path), None)


def split_options(args: list[str]) -> list[list[str]]:
    """Group the words of a command line: each option with its values; each word before the first option by itself."""
    options: list[list[str]] = []
    for word in args:
        if options and not word.startswith("--") and word not in ("-c", "-h") and options[-1][0].startswith("-"):
            options[-1].append(word)
        else:
            options.append([word])
    return options


def name_and_value(option: list[str]) -> tuple[str, str]:
    """The name and value of an option, from a group of :func:`split_options`."""
    name, _, value = option[0].partition("=")
    return (name, value) if value else (name, " ".join(option[1:]))


def load(text: str) -> Any:
    """Load a config file or an option's value as YAML; None if it is unreadable, which the parser will report."""
    try:
        if not Path(text).is_file():
            return yaml.safe_load(text)
        state = os.stat(text)
        return _content(os.path.abspath(text), state.st_mtime_ns, state.st_size)
    except (OSError, ValueError, yaml.YAMLError):
        return None


@lru_cache(maxsize=8)  # a command looks up many options in the same few configs
def _content(path: str, *state: int) -> Any:
    return yaml.safe_load(Path(path).read_text(encoding="utf-8"))


def path_in(value: Any) -> str | None:
    """The class name or import path in an option's value; None if the value cannot be one."""
    path = value.get("class_path") if hasattr(value, "get") else value
    return path if isinstance(path, str) and re.fullmatch(r"[A-Za-z_][\w.]*", path) else None


def _values(args: list[str], option: str) -> Iterator[Any]:
    """The values of an option on a command line, in order; None for each config without the option."""
    for name, value in map(name_and_value, split_options(args)):
        key = "" if name in ("-c", "--config") else name.removeprefix("--").removesuffix("+")
        if not name.startswith("-"):
            continue
        if key == option:
            content = load(value)
            yield content if isinstance(content, Mapping) else value
        elif not key or option.startswith(f"{key}."):
            content = _with_plain_model(load(value))
            for part in option.removeprefix(key).strip(".").split("."):
                content = _argument(content, part)
            yield content


def _argument(content: Any, name: str) -> Any:
    """An entry of a config section, or an argument of the class that the section names."""
    if isinstance(content, list):
        return next((value for each in content if (value := _argument(each, name)) is not None), None)
    if not isinstance(content, Mapping):
        return None
    sections = [content, content.get("init_args"), content.get("dict_kwargs")]
    return next((section[name] for section in sections if isinstance(section, Mapping) and name in section), None)


def _with_plain_model(content: Any) -> Any:
    """The config with plain options in its section ``model``, even if the section names a class."""
    section = content.get("model") if isinstance(content, Mapping) else None
    return {**content, "model": trained_as.options(section)} if isinstance(section, Mapping) else content

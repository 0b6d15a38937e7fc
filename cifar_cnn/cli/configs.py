"""Config files on the command line: where they are named, and what is checked before they are parsed."""

import os
from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path

import yaml

from cifar_cnn.errors import InputError


def option_values(args: list[str], *names: str) -> list[str]:
    """All values that ``args`` gives an option of these names, as ``--name value`` or ``--name=value``, in order."""
    values = []
    for arg, following in zip_longest(args, args[1:]):
        name, equals, value = arg.partition("=")
        if name in names and (equals or following is not None):
            values.append(value if equals else following)
    return values


MOST_VALUES = 100_000  # in a config
SECTIONS = ("model", "data", "trainer", "checkpoint", "last_checkpoint", "not_finite", "filters")  # of a config


def check_configs(paths: Iterable[str]) -> None:
    """Check config files before they are parsed.

    Raises:
        InputError: a file is unreadable or empty, refers to itself, or has too many values (a few lines of nested
            aliases can stand for billions).
    """
    for path in filter(os.path.exists, paths):
        if Path(path).is_fifo():  # can be read only once, and that is the parser's
            continue
        try:
            root = yaml.compose(Path(path).read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
            size = _size(root, {}) if root else 0
        except OSError as error:
            raise InputError(f"config {path} cannot be read: {error.strerror}") from error
        except (UnicodeDecodeError, yaml.YAMLError) as error:
            raise InputError(f"config {path} is not valid YAML: {' '.join(str(error).split())}") from error
        except RecursionError as error:
            raise InputError(f"config {path} is nested too deeply or contains itself") from error
        if not size:
            raise InputError(f"config {path} is empty")
        if size > MOST_VALUES:
            raise InputError(f"config {path} holds more than {MOST_VALUES:,} values")
        for key, value in root.value if isinstance(root, yaml.MappingNode) else ():
            _check_section(path, key, value)


def _check_section(path: str, key: yaml.Node, value: yaml.Node) -> None:
    name = str(key.value)
    if not key.tag.endswith((":str", ":merge")) or name in ("config", "print_config"):
        raise InputError(f"config {path}: {name:.60} is not an option of a config")
    is_file = value.tag.endswith((":str", ":null"))  # another config, for this section
    if name in SECTIONS and not (isinstance(value, yaml.MappingNode) or is_file):
        given = value.value if isinstance(value, yaml.ScalarNode) else "a list"
        what = f"{name}: must be followed by indented lines of options, not by {given}"
        raise InputError(f"config {path}: {what}")


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a config holds once its aliases are written out."""
    if id(node) not in known:
        pairs = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [part for pair in pairs for part in (pair if isinstance(pair, tuple) else (pair,))]
        known[id(node)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(node)]

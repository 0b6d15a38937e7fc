"""Find config files on the command line, and check them before they are parsed."""

import os
from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path

import yaml

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.files import check_yaml


def option_values(args: list[str], *names: str) -> list[str]:
    """All values of an option in ``args``, as ``--name value`` or ``--name=value``, in order."""
    values = []
    for arg, following in zip_longest(args, args[1:]):
        name, equals, value = arg.partition("=")
        if name in names and (equals or following is not None):
            values.append(value if equals else following)
    return values


SECTIONS = ("model", "data", "trainer", "checkpoint", "last_checkpoint", "not_finite", "filters")  # of a config


def check_configs(paths: Iterable[str]) -> None:
    """Check config files before they are parsed.

    Raises:
        InputError: a file is unreadable, empty or recursive, has too many values, or has an invalid section.
    """
    for path in filter(os.path.exists, paths):
        if Path(path).is_fifo():  # only the parser may read it, because it can be read only once
            continue
        root = check_yaml(path)
        if not isinstance(root, yaml.MappingNode):
            raise InputError(f"config {path}: a config must contain sections such as model: and data:")
        for key, value in root.value:
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

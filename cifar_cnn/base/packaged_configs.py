"""Find the configs that are installed with the package by name.

They come from the folder ``configs`` of the repository; a wheel contains a copy of it.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.files import writing_into

_OPTIONS = ("-c", "--config")


def folder() -> Path:
    """The folder of the configs: in the package, or in the repository that the package is used from."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def names() -> list[str]:
    """The names of all configs, such as ``quickstart``."""
    return sorted(path.stem for path in folder().glob("*.yaml"))


def find(name: str) -> Path | None:
    """The config with this name, with or without ``.yaml``; None for an existing path or an unknown name."""
    stem = name.removesuffix(".yaml")
    return None if os.path.exists(name) or stem not in names() else folder() / f"{stem}.yaml"


def description(name: str) -> str:
    """The first line of a config, without the comment sign."""
    return (folder() / f"{name}.yaml").read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")


def copy_to(target: Path) -> list[Path]:
    """Copy all configs into a folder.

    Raises:
        InputError: a file already exists, or the folder cannot be written.
    """
    copies = [target / f"{name}.yaml" for name in names()]
    if existing := [path for path in copies if path.exists()]:
        raise InputError(f"{existing[0]} already exists: choose another folder, or remove it")
    with writing_into(target):
        for path in copies:
            shutil.copyfile(folder() / path.name, path)
    return copies


def with_paths(words: list[str]) -> list[str]:
    """Replace the names of packaged configs in a command line with their paths."""
    return _with_values(words, lambda value: str(find(value) or value))


def with_name(path: Path) -> str:
    """The shortest value of ``--config`` that means ``path``: the name of a packaged config, or the path itself."""
    return path.stem if find(path.stem) == path else str(path)


def _with_values(words: list[str], replaced: Callable[[str], str]) -> list[str]:
    found = []
    is_value = False
    for word in words:
        option, equals, value = word.partition("=")
        if is_value:
            word = replaced(word)
        elif equals and option in _OPTIONS:
            word = f"{option}={replaced(value)}"
        is_value = word in _OPTIONS and not is_value
        found.append(word)
    return found

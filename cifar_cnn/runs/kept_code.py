"""Compare the user's code with the version that a checkpoint was trained with, or import that version.

:mod:`cifar_cnn.trust.user_code` defines which code belongs to the user.

``CIFAR_CNN_CODE=kept`` imports the copy in the run folder, under the rules of :mod:`cifar_cnn.trust`: all files of a
run that the user trained; for any other run, only files of packages that the user has named. Their hashes must match
the checkpoint.
"""

import importlib.util
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder, SourceLoader
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.paths import relative
from cifar_cnn.distributed import prints_messages
from cifar_cnn.runs.folders import run_of
from cifar_cnn.trust import names as trust
from cifar_cnn.trust import ownership, user_code

log = logging.getLogger("cifar_cnn")

VARIABLE = "CIFAR_CNN_CODE"


def compare(checkpoint: Path, content: Mapping[str, Any]) -> None:
    """Warn about files that have changed since the training, or import the copies in the run folder instead.

    Args:
        checkpoint: path of the checkpoint.
        content: content of the checkpoint.

    Raises:
        InputError: the copy is requested but cannot be used.
    """
    choice = os.environ.get(VARIABLE) or "current"
    if choice not in ("current", "kept"):
        raise InputError(f"{VARIABLE} must be kept or current, not {choice!r}")
    sums = _sums(content)
    changed = _changed(sums)
    if not changed:
        return
    run = run_of(checkpoint)
    folder = user_code.kept(run, sums)
    if choice == "kept":
        _use(checkpoint, folder, sums, changed)
        return
    if not prints_messages():
        return
    where = relative(run or checkpoint)
    copy = f"{VARIABLE}=kept uses the copy in {relative(folder)}" if folder else "the run holds no copy"
    gone = [name for name in changed if user_code.current(name) is None]
    if edited := sorted(set(changed) - set(gone)):
        has = "have" if edited[1:] else "has"
        what = f"{_listed(edited)} {has} changed since {where} was trained; using the current code"
        log.warning("%s. %s", what, copy)
    if gone:
        log.warning("%s, used to train %s, was not found. %s", _listed(gone), where, copy)


def changed_files(content: Mapping[str, Any]) -> list[str]:
    """The user's files in use that have changed since a checkpoint was trained.

    Args:
        content: content of the checkpoint.

    Returns:
        Their names, as in :func:`cifar_cnn.trust.user_code.own_files`; a script by its own name.
    """
    changed = _changed(_sums(content))
    if os.environ.get(VARIABLE) == "kept":  # a script that is already running is never replaced
        changed = [name for name in changed if user_code.is_script(name)]
    return sorted(name.removeprefix(f"{user_code.SCRIPT}/") for name in changed)


def _changed(sums: Mapping[str, str]) -> list[str]:
    return [name for name in sums if _has_changed(name, sums[name])]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(name.removeprefix(f"{user_code.SCRIPT}/") for name in names)


@contextmanager
def unloading_copies() -> Iterator[None]:
    """On exit, unload the modules that were imported from copies."""
    before = list(sys.meta_path)
    try:
        yield
    finally:
        for finder in [each for each in sys.meta_path if isinstance(each, _Finder) and each not in before]:
            sys.meta_path.remove(finder)
            for name in finder.sources:
                sys.modules.pop(name, None)


def _sums(content: Mapping[str, Any]) -> dict[str, str]:
    """The files of a checkpoint that may be imported, with their SHA-256."""
    record = content.get(ownership.KEY)
    found = record.get("code") if isinstance(record, Mapping) else None
    own = ownership.is_own(content)
    return {
        name: value
        for name, value in (found.items() if isinstance(found, Mapping) else ())
        if isinstance(name, str) and (own or trust.may_import(user_code.module_name(name), content))
    }


def _has_changed(name: str, known: str) -> bool:
    path = user_code.current(name)
    if path is None:
        return not user_code.is_script(name)  # a script other than the running one
    try:
        return user_code.digest(path.read_bytes()) != known
    except OSError:
        return True


def _use(checkpoint: Path, folder: Path | None, sums: Mapping[str, str], changed: Sequence[str]) -> None:
    if folder is None:
        raise InputError(f"{VARIABLE}=kept: the run folder of {checkpoint} holds no copy of its code")
    modules = {user_code.module_name(name): folder / name for name in sums if not user_code.is_script(name)}
    for name in changed:
        if (module := user_code.module_name(name)) in sys.modules:
            raise InputError(f"{VARIABLE}=kept: the current {module} has already been imported")
    sys.meta_path.insert(0, _Finder({module: (path, path.read_bytes()) for module, path in modules.items()}))


class _Finder(MetaPathFinder, SourceLoader):  # type: ignore[misc]
    """Imports modules from verified sources in memory; the folder could contain other modules and bytecode."""

    def __init__(self, sources: dict[str, tuple[Path, bytes]]) -> None:
        self.sources = sources

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name in self.sources:
            return importlib.util.spec_from_file_location(name, self.get_filename(name), loader=self)
        return None

    def is_package(self, fullname: str) -> bool:
        return self.sources[fullname][0].name == "__init__.py"

    def get_filename(self, fullname: str) -> str:
        return str(self.sources[fullname][0])

    def get_data(self, path: Any) -> bytes:
        return next(content for file, content in self.sources.values() if str(file) == path)

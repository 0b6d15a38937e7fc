"""The user's code that a checkpoint was trained with, beside the code as it is now.

:mod:`cifar_cnn.trust.user_code` says which code that is.

``CIFAR_CNN_CODE=kept`` imports the copy in the run's folder. The rules of :mod:`cifar_cnn.trust` hold for it: of a run
that this user has trained all files may be imported, of another run those of the packages that the user has named. The
files must be those that the checkpoint names.
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

from cifar_cnn.distributed import speaks
from cifar_cnn.errors import InputError
from cifar_cnn.paths import relative
from cifar_cnn.runs.folders import run_of
from cifar_cnn.trust import names as trust
from cifar_cnn.trust import ownership, user_code

log = logging.getLogger("cifar_cnn")

VARIABLE = "CIFAR_CNN_CODE"


def compare(checkpoint: Path, content: Mapping[str, Any]) -> None:
    """Say which files have changed since a run was trained with them; or let imports find the run's copy of them.

    Args:
        checkpoint: the path.
        content: of the checkpoint.

    Raises:
        InputError: the copy is wanted and cannot be used.
    """
    choice = os.environ.get(VARIABLE) or "current"
    if choice not in ("current", "kept"):
        raise InputError(f"{VARIABLE} is kept or current, not {choice!r}")
    sums = _sums(content)
    changed = _changed(sums)
    if not changed:
        return
    run = run_of(checkpoint)
    folder = user_code.kept(run, sums)
    if choice == "kept":
        _use(checkpoint, folder, sums, changed)
        return
    if not speaks():
        return
    where = relative(run or checkpoint)
    copy = f"{VARIABLE}=kept uses the copy in {relative(folder)}" if folder else "the run holds no copy"
    gone = [name for name in changed if user_code.current(name) is None]
    if edited := sorted(set(changed) - set(gone)):
        has, it, is_used = (
            ("have", "them", "they are used as they") if edited[1:] else ("has", "it", "it is used as it")
        )
        what = (
            f"{_listed(edited)} {has} changed since {where} was trained with {it}; {is_used} {is_used.split()[1]} now"
        )
        log.warning("%s. %s", what, copy)
    if gone:
        log.warning("%s, which %s was trained with, cannot be found here. %s", _listed(gone), where, copy)


def changed_files(content: Mapping[str, Any]) -> list[str]:
    """The user's files that are used as they are now, and were different when a checkpoint was trained.

    Args:
        content: of the checkpoint.

    Returns:
        Their names, as in :func:`cifar_cnn.trust.user_code.own_files`; a program started as a script has its own.
    """
    changed = _changed(_sums(content))
    if os.environ.get(VARIABLE) == "kept":  # which a program that is running already is not taken from
        changed = [name for name in changed if user_code.is_script(name)]
    return sorted(name.removeprefix(f"{user_code.SCRIPT}/") for name in changed)


def _changed(sums: Mapping[str, str]) -> list[str]:
    return [name for name in sums if _has_changed(name, sums[name])]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(name.removeprefix(f"{user_code.SCRIPT}/") for name in names)


@contextmanager
def forgetting() -> Iterator[None]:
    """At the end, forget the copies that imports have found meanwhile."""
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
        return not user_code.is_script(name)  # a program that is not the one running
    try:
        return user_code.digest(path.read_bytes()) != known
    except OSError:
        return True


def _use(checkpoint: Path, folder: Path | None, sums: Mapping[str, str], changed: Sequence[str]) -> None:
    if folder is None:
        raise InputError(f"{VARIABLE}=kept: {checkpoint} has no copy of the code that it was trained with beside it")
    modules = {user_code.module_name(name): folder / name for name in sums if not user_code.is_script(name)}
    for name in changed:
        if (module := user_code.module_name(name)) in sys.modules:
            raise InputError(f"{VARIABLE}=kept: {module} has been imported already, as it is now")
    sys.meta_path.insert(0, _Finder({module: (path, path.read_bytes()) for module, path in modules.items()}))


class _Finder(MetaPathFinder, SourceLoader):  # type: ignore[misc]
    """Imports modules from sources in memory: a folder could bring in modules and bytecode that nobody has checked."""

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

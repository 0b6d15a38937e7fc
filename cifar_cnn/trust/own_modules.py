"""Import the user's own modules from the current folder, and no other module.

Libraries try optional imports, such as ``import pynvml``. If the current folder were on ``sys.path``, they would run a
file with that name. Instead, a separate finder searches the folder after all installed packages. It finds only modules
that the user has named in a ``class_path``, and the modules that these import.

This module imports only the standard library, because a spawned process imports it before its ``sys.path`` is set.
"""

import inspect
import sys
from collections.abc import Iterable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType


def search(folder: str, names: Iterable[str] = (), found: Iterable[str] = ()) -> str:
    """Let imports find the user's own modules in a folder, in this process and in those that it spawns.

    Args:
        folder: an absolute path.
        names: names of the modules that may be found there, see :func:`allow`.
        found: names of the modules that were already imported from there; their imports may be found there too.

    Returns:
        An entry of ``sys.path`` that is not a folder. A spawned process receives it with the rest of ``sys.path``.
        Unpickling the entry installs the finder in that process, before objects of the user's modules are unpickled.
    """
    finder = _finder()
    if finder is None or finder.folder != folder:
        _remove(finder)  # an earlier command in this process ran in another folder
        finder = _OwnModules(folder)
        sys.meta_path.append(finder)
        sys.path.append(finder.entry)
    finder.names.update(names)
    finder.found.update(found)
    return finder.entry


def allow(names: Iterable[str]) -> None:
    """Let imports find modules in the folder passed to :func:`search`; do nothing if there is none.

    Args:
        names: names of modules or packages, or import paths of objects in them.
    """
    if finder := _finder():
        finder.names.update(name.partition(".")[0] for name in names)


def folders() -> list[str]:
    """The folders that are searched for the user's own modules, in order."""
    finder = _finder()
    return [*sys.path, *([finder.folder] if finder else [])]


def _finder() -> "_OwnModules | None":
    return next((each for each in sys.meta_path if isinstance(each, _OwnModules)), None)


def _remove(finder: "_OwnModules | None") -> None:
    if finder is not None:
        sys.meta_path.remove(finder)
        sys.path[:] = [each for each in sys.path if each is not finder.entry]


class _OwnModules(MetaPathFinder):
    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.names: set[str] = set()
        self.found: set[str] = set()
        self.entry = _Entry(__file__)
        self.entry.finder = self

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if path is not None or not (name in self.names or _importer() in self.found):
            return None  # with a path, the module is part of a package and is searched for in the package's folder
        spec = PathFinder.find_spec(name, [self.folder], target)
        if spec is not None:
            self.found.add(name)
        return spec


class _Entry(str):
    """Installs the finder in the process that unpickles it."""

    finder: _OwnModules

    def __reduce__(self) -> tuple:
        return search, (self.finder.folder, sorted(self.finder.names), sorted(self.finder.found))


def _importer() -> str:
    """The top-level module or package that contains the import statement."""
    frame = inspect.currentframe()
    while frame is not None:
        name = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if name != "importlib" and frame.f_globals is not globals():
            return name
        frame = frame.f_back
    return ""

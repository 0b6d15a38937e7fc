"""Import the user's own modules from the current folder, and nothing else from there.

Libraries try optional imports, such as ``import pynvml``. With the current folder on ``sys.path``, a file of that name
would be run. So the folder is searched by a finder of its own, after everything that is installed, and only for modules
that the user has named by a ``class_path``, and for the modules that these import.

Imports only the standard library: a spawned process imports this module before its ``sys.path`` is set.
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
        names: of modules that may be found there, see :func:`allow`.
        found: those of them that have been imported from there; the modules that they import may be found as well.

    Returns:
        An entry of ``sys.path`` that is no folder. A spawned process gets it with the rest of ``sys.path``, before it
        unpickles objects of the user's modules, and unpickling it starts the search there.
    """
    finder = _finder()
    if finder is None or finder.folder != folder:
        _remove(finder)  # an earlier command of this process ran in another folder
        finder = _OwnModules(folder)
        sys.meta_path.append(finder)
        sys.path.append(finder.entry)
    finder.names.update(names)
    finder.found.update(found)
    return finder.entry


def allow(names: Iterable[str]) -> None:
    """Let imports find modules in the folder of :func:`search`; without such a folder, do nothing.

    Args:
        names: of modules or packages, or import paths of their contents.
    """
    if finder := _finder():
        finder.names.update(name.partition(".")[0] for name in names)


def folders() -> list[str]:
    """The folders in which an import of the user's own modules looks, in order."""
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
            return None  # with a path, it is a module of a package, which lies in the package's folder
        spec = PathFinder.find_spec(name, [self.folder], target)
        if spec is not None:
            self.found.add(name)
        return spec


class _Entry(str):
    """Starts the search in the process that unpickles it."""

    finder: _OwnModules

    def __reduce__(self) -> tuple:
        return search, (self.finder.folder, sorted(self.finder.names), sorted(self.finder.found))


def _importer() -> str:
    """The top-level module or package whose code imports."""
    frame = inspect.currentframe()
    while frame is not None:
        name = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if name != "importlib" and frame.f_globals is not globals():
            return name
        frame = frame.f_back
    return ""

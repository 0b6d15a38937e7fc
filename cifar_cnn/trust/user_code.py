"""The user's own modules of a run: which they are, their copy in the run's folder, and whether they have changed.

A checkpoint holds the SHA-256 of each file, so that every command that uses it can tell whether the code is still what
it was trained with. ``CIFAR_CNN_CODE=kept`` lets a command import the copy in place of the files as they are now.
"""

import ast
import hashlib
import importlib.util
import json
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from cifar_cnn.files import write
from cifar_cnn.trust import own_modules

FOLDER = "code"  # of a run
SCRIPT = "__main__"  # the folder in it of a program that was started as such


def own_files(paths: Iterable[str]) -> dict[str, Path]:
    """The files behind import paths that belong to no installed package, and those beside them that they import.

    Args:
        paths: of modules that have been imported, or of what is in them.

    Returns:
        The files by their name relative to the folder that they are imported from, with ``/``.
    """
    found: dict[str, Path] = {}
    for path in sorted(paths):
        module = path
        while module not in sys.modules and "." in module:
            module = module.rpartition(".")[0]
        file = getattr(sys.modules.get(module), "__file__", None)
        if file is None or not _is_own(Path(file)):
            continue
        file = Path(file).resolve()
        if module == SCRIPT:
            found[f"{SCRIPT}/{file.name}"] = file
            names, root = set(_imports(file, "")), file.parent
        else:
            names = {module}
            root = file.parents[module.count(".") + (file.name == "__init__.py")]
        _add(found, names, root)
    return found


def digest(content: bytes) -> str:
    """SHA-256."""
    return hashlib.sha256(content).hexdigest()


def digests(files: Mapping[str, Path]) -> dict[str, str]:
    """SHA-256 of files, by name."""
    return {name: digest(path.read_bytes()) for name, path in files.items()}


def keep(run: Path, files: Mapping[str, Path], sums: Mapping[str, str]) -> None:
    """Copy files into the folder of a run, unless they are there.

    The first go to ``code``; those of a resumed run that have changed since, to a folder of their own in it.

    Raises:
        OSError: they cannot be written.
    """
    if not sums or kept(run, sums) is not None:
        return
    folder = run / FOLDER
    if folder.exists():
        folder /= _name(sums)
    for name, path in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write(folder / name, path.read_bytes())


def kept(run: Path | None, sums: Mapping[str, str]) -> Path | None:
    """The folder of a run that holds the copy of exactly these files, or None."""
    folders = [run / FOLDER, run / FOLDER / _name(sums)] if run else []
    for folder in folders:
        try:
            if all(digest((folder / name).read_bytes()) == sums[name] for name in sums):
                return folder
        except OSError:  # it has not all of them
            continue
    return None


def _name(sums: Mapping[str, str]) -> str:
    return digest(json.dumps(sorted(sums.items())).encode())[:8]


def module_name(file: str) -> str:
    """The module of a file by its name in :func:`own_files`: ``a.b`` for ``a/b.py`` and for ``a/b/__init__.py``."""
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def is_script(name: str) -> bool:
    """Whether a file by its name in :func:`own_files` is a program that was started as such."""
    return name.startswith(f"{SCRIPT}/")


def current(name: str) -> Path | None:
    """The file that an import of a module would read now, or None. Nothing is imported.

    Args:
        name: of the file, as in :func:`own_files`.
    """
    script = is_script(name)
    loaded = getattr(sys.modules.get(SCRIPT if script else module_name(name)), "__file__", None)
    if loaded is not None and (not script or Path(loaded).name == Path(name).name):
        return Path(loaded)
    files = [Path(folder, name) for folder in own_modules.folders()] if not script else []
    return next(filter(Path.is_file, files), None)


def _add(found: dict[str, Path], names: Iterable[str], root: Path) -> None:
    waiting = list(names)
    while waiting:
        module = waiting.pop()
        waiting += [module.rpartition(".")[0]] if "." in module else []  # whose __init__.py runs before
        for name in (f"{module.replace('.', '/')}.py", f"{module.replace('.', '/')}/__init__.py"):
            file = root / name
            if name not in found and file.is_file() and _is_own(file):
                found[name] = file
                waiting += _imports(file, module if file.name == "__init__.py" else module.rpartition(".")[0])


def _imports(file: Path, package: str) -> Iterator[str]:
    """The names of all modules that a file may import, relative ones made absolute."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # it is no Python, or of another version
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                try:
                    base = importlib.util.resolve_name("." * node.level + base, package)
                except ImportError:  # beyond the top
                    continue
            yield from filter(None, [base, *(f"{base}.{alias.name}" for alias in node.names)])


def _is_own(file: Path) -> bool:
    file = file.resolve()
    folders = [Path(__file__).parent.parent, *(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))]
    installed = {"site-packages", "dist-packages"} & set(file.parts)
    return file.suffix == ".py" and not installed and not any(map(file.is_relative_to, map(Path.resolve, folders)))

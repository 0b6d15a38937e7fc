"""Find the user's own modules that a run uses, copy them into its folder, and detect later changes.

A checkpoint holds the SHA-256 of each file, so that every command can tell whether the code has changed since the
training. With ``CIFAR_CNN_CODE=kept``, a command imports the copy instead of the current files.
"""

import ast
import hashlib
import importlib.util
import json
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from cifar_cnn.base.files import write
from cifar_cnn.trust import own_modules

FOLDER = "code"  # subfolder of a run
SCRIPT = "__main__"  # subfolder of FOLDER for a program that was run as a script


def own_files(paths: Iterable[str]) -> dict[str, Path]:
    """The user's own files behind import paths, including the neighboring files that they import.

    Args:
        paths: import paths of modules, or of objects in them; the modules must have been imported already.

    Returns:
        A mapping from each file's name, relative to the folder that it is imported from and written with ``/``, to its
        path.
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
    """SHA-256 as hexadecimal text."""
    return hashlib.sha256(content).hexdigest()


def digests(files: Mapping[str, Path]) -> dict[str, str]:
    """SHA-256 of each file, by name."""
    return {name: digest(path.read_bytes()) for name, path in files.items()}


def keep(run: Path, files: Mapping[str, Path], sums: Mapping[str, str]) -> None:
    """Copy files into the folder of a run, unless it already holds them.

    The first copy is placed in ``code``. If the files have changed when a run is resumed, their copy is placed in a
    subfolder of ``code``.

    Raises:
        OSError: the files cannot be written.
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
    """The folder of a run that holds unchanged copies of these files, or None.

    Args:
        run: the folder of a run.
        sums: SHA-256 of each file, by name.
    """
    folders = [run / FOLDER, run / FOLDER / _name(sums)] if run else []
    for folder in folders:
        try:
            if all(digest((folder / name).read_bytes()) == sums[name] for name in sums):
                return folder
        except OSError:  # a file is missing
            continue
    return None


def _name(sums: Mapping[str, str]) -> str:
    return digest(json.dumps(sorted(sums.items())).encode())[:8]


def module_name(file: str) -> str:
    """The module of a file, given its name in :func:`own_files`: ``a.b`` for ``a/b.py`` and ``a/b/__init__.py``."""
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def is_script(name: str) -> bool:
    """Whether a file, given its name in :func:`own_files`, was run as a script."""
    return name.startswith(f"{SCRIPT}/")


def current(name: str) -> Path | None:
    """The file that an import of a module would read now, or None; nothing is imported.

    Args:
        name: the name of the file, as in :func:`own_files`.
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
        waiting += [module.rpartition(".")[0]] if "." in module else []  # the __init__.py of the package runs first
        for name in (f"{module.replace('.', '/')}.py", f"{module.replace('.', '/')}/__init__.py"):
            file = root / name
            if name not in found and file.is_file() and _is_own(file):
                found[name] = file
                waiting += _imports(file, module if file.name == "__init__.py" else module.rpartition(".")[0])


def _imports(file: Path, package: str) -> Iterator[str]:
    """The absolute names of all modules that a file may import."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # not Python, or another version of it
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                try:
                    base = importlib.util.resolve_name("." * node.level + base, package)
                except ImportError:  # beyond the top-level package
                    continue
            yield from filter(None, [base, *(f"{base}.{alias.name}" for alias in node.names)])


def _is_own(file: Path) -> bool:
    file = file.resolve()
    folders = [Path(__file__).parent.parent, *(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))]
    installed = {"site-packages", "dist-packages"} & set(file.parts)
    return file.suffix == ".py" and not installed and not any(map(file.is_relative_to, map(Path.resolve, folders)))

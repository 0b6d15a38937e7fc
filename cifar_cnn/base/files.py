"""Write files atomically, check YAML files before they are loaded, and lock folders between processes."""

import json
import logging
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import yaml
from filelock import FileLock, Timeout

from cifar_cnn.base.errors import InputError

log = logging.getLogger("cifar_cnn")

_MOST_VALUES = 100_000  # limit for a YAML file


@contextmanager
def replacing(path: Path, mode: str = "wb", **options: Any) -> Iterator[IO[Any]]:
    """Open a temporary file that replaces ``path`` once it is completely written and flushed to the disk.

    After any interruption, including a power cut, the previous file is unchanged. Devices and pipes are written to
    directly. If ``path`` is a link, its target is replaced.

    Args:
        path: the file to replace or create.
        mode: as in ``open``.
        options: as in ``open``.

    Raises:
        OSError: the file cannot be written; the temporary file is removed.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        with open(path, mode, **options) as file:
            yield file
        return
    part = temporary_path(path)
    try:
        with open(part, mode.replace("w", "x"), **options) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        move(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def temporary_path(path: Path) -> Path:
    """A unique temporary name in the folder of ``path``."""
    return path.with_name(f"{path.name[:60]}.{secrets.token_hex(4)}.part")  # at most 255 bytes, the usual limit


def remove_leftovers(folder: Path, name: str = "") -> None:
    """Remove the temporary files that killed processes have left in a folder; no other process may be writing to it.

    Args:
        folder: the folder.
        name: final name of the temporary files to remove; by default all are removed.
    """
    start = re.escape(name[:60]) if name else ".+"
    for path in folder.glob("*.part"):
        if re.fullmatch(rf"{start}\.[0-9a-f]{{8}}\.part", path.name):
            path.unlink(missing_ok=True)


@contextmanager
def writing_into(folder: Path) -> Iterator[None]:
    """Create a folder if it is missing; within the context, a failure to write is an InputError.

    Raises:
        InputError: the folder cannot be created or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise InputError(f"cannot write into {folder}: {error.strerror or error}") from error


def write(path: Path, content: str | bytes) -> None:
    """Write a file atomically; text is encoded as UTF-8.

    Raises:
        OSError: see :func:`replacing`.
    """
    options = {"mode": "w", "encoding": "utf-8"} if isinstance(content, str) else {}
    with replacing(path, **options) as file:
        file.write(content)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file atomically.

    Raises:
        OSError: see :func:`replacing`.
    """
    write(path, json.dumps(content, indent=1) + "\n")


def check_yaml(path: str | os.PathLike) -> yaml.Node:
    """Check a YAML file before it is loaded.

    Returns:
        The content as nodes; no Python objects are constructed.

    Raises:
        InputError: the file is unreadable or empty, contains itself, or has too many values; aliases can produce
            billions of values in a few lines.
    """
    try:
        root = yaml.compose(Path(path).read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        size = _size(root, {}) if root else 0
    except OSError as error:
        raise InputError(f"config {path} cannot be read: {error.strerror}") from error
    except (ValueError, yaml.YAMLError) as error:  # ValueError: not UTF-8, or a character that YAML does not allow
        raise InputError(f"config {path} is not valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise InputError(f"config {path} is nested too deeply or contains itself") from error
    if root is None or not size:
        raise InputError(f"config {path} is empty")
    if size > _MOST_VALUES:
        raise InputError(f"config {path} holds more than {_MOST_VALUES:,} values")
    return root


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """The number of values in a node with its aliases expanded."""
    if id(node) not in known:
        pairs = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [part for pair in pairs for part in (pair if isinstance(pair, tuple) else (pair,))]
        known[id(node)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(node)]


def move(source: Path, target: Path) -> None:
    """Rename a file within its folder, replacing an existing file; the new name survives a power cut."""
    os.replace(source, target)
    with suppress(OSError):  # not every system can open a folder
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def locked(*folders: Path) -> Iterator[None]:
    """Let only one process on this machine enter the context at a time; without a writable folder, nothing is locked.

    Args:
        folders: candidates for the folder of the lock file ``.lock``, which is created in the first writable one and
            not removed.
    """
    for folder in folders:
        lock = FileLock(folder / ".lock")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(blocking=False)
        except Timeout:
            log.info("Waiting for another process that is preparing the same data (%s)", lock.lock_file)
            lock.acquire()
        except OSError:
            continue
        try:
            yield
        finally:
            lock.release()
        return
    yield

"""Files that are written as a whole or checked before they are read, and locks between processes."""

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

from cifar_cnn.errors import InputError

log = logging.getLogger("cifar_cnn")

_MOST_VALUES = 100_000  # in a YAML file


@contextmanager
def replacing(path: Path, mode: str = "wb", **options: Any) -> Iterator[IO[Any]]:
    """Open a file that takes the place of ``path`` once it is written and on the disk.

    Whatever interrupts it, a power cut included, leaves the file that was there before. What is no file (a device, a
    pipe) is written to as it is, and a link leads to what is replaced.

    Args:
        path: what is replaced, or made.
        mode: as for ``open``.
        options: as for ``open``.

    Raises:
        OSError: it cannot be written; nothing is left of it.
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
    """A new name in the folder of ``path``, which no other process and no file of the user has."""
    return path.with_name(f"{path.name[:60]}.{secrets.token_hex(4)}.part")  # 255 bytes at most, as file systems allow


def remove_leftovers(folder: Path, name: str = "") -> None:
    """Remove the temporary files that killed processes have left in a folder, while no other process writes to it.

    Args:
        folder: the folder.
        name: only those that would have got this name.
    """
    start = re.escape(name[:60]) if name else ".+"
    for path in folder.glob("*.part"):
        if re.fullmatch(rf"{start}\.[0-9a-f]{{8}}\.part", path.name):
            path.unlink(missing_ok=True)


def write(path: Path, content: str | bytes) -> None:
    """Write a file that takes the place of ``path`` as a whole; text as UTF-8.

    Raises:
        OSError: see :func:`replacing`.
    """
    options = {"mode": "w", "encoding": "utf-8"} if isinstance(content, str) else {}
    with replacing(path, **options) as file:
        file.write(content)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file as a whole.

    Raises:
        OSError: it cannot be written.
    """
    write(path, json.dumps(content, indent=1) + "\n")


def check_yaml(path: str | os.PathLike) -> yaml.Node:
    """Check a YAML file before it is loaded.

    Returns:
        Its content as nodes, with nothing constructed yet.

    Raises:
        InputError: it is unreadable or empty, or holds itself or too many values, which aliases can do in a few lines.
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
    """How many values a node holds once its aliases are written out."""
    if id(node) not in known:
        pairs = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [part for pair in pairs for part in (pair if isinstance(pair, tuple) else (pair,))]
        known[id(node)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(node)]


def move(source: Path, target: Path) -> None:
    """Give a file another name in the same folder, in place of what bore it, for good even if the power fails."""
    os.replace(source, target)
    with suppress(OSError):  # not every system lets a folder be opened
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def locked(*folders: Path) -> Iterator[None]:
    """Let one process of this machine in at a time; where nothing can be written, all.

    Args:
        folders: those that the lock may lie in; it lies in the first that can be written, as ``.lock``, and stays.
    """
    for folder in folders:
        lock = FileLock(folder / ".lock")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(blocking=False)
        except Timeout:
            log.info("Waiting for another process that prepares the same data (%s)", lock.lock_file)
            lock.acquire()
        except OSError:
            continue
        try:
            yield
        finally:
            lock.release()
        return
    yield

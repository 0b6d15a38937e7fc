"""The lock of a run's folder: one training at a time, and whether one is under way."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from cifar_cnn.errors import InputError
from cifar_cnn.paths import relative

LOCK = ".training.lock"
_SECONDS = 1.0  # is_training holds the lock for a moment


@contextmanager
def training_in(folder: Path | None) -> Iterator[None]:
    """Hold the lock of a run's folder while the run is trained.

    The system frees the lock when the process ends, also by SIGKILL. A file system without locks is no obstacle.

    Args:
        folder: of the run; None locks nothing, for a run without a folder and for ranks other than 0.

    Raises:
        InputError: another process trains this run.
    """
    if folder is None:
        yield
        return
    lock = FileLock(folder / LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=_SECONDS)
    except Timeout as error:
        raise InputError(
            f"{relative(folder)} is being trained by another process: wait until it has ended or stop it, or "
            "start a new run without --ckpt_path"
        ) from error
    except (OSError, NotImplementedError):  # a file system that cannot lock or write; the run itself will say so
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError):  # Windows keeps an open file
            os.unlink(lock.lock_file)
        lock.release()


def is_training(folder: Path) -> bool:
    """Whether a process trains the run in this folder now."""
    path = folder / LOCK
    if not path.is_file():
        return False
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return True
    except (OSError, NotImplementedError):
        return False
    lock.release()
    return False

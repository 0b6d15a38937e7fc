"""Lock a run folder, so that only one process trains the run."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.paths import relative

LOCK = ".training.lock"
_SECONDS = 1.0  # timeout; is_training may hold the lock briefly


@contextmanager
def training_in(folder: Path | None) -> Iterator[None]:
    """Context manager that holds the lock of a run folder during training.

    The system releases the lock when the process ends, even by SIGKILL. File systems without locks are accepted.

    Args:
        folder: folder of the run; None to lock nothing, for a run without a folder and for ranks other than 0.

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
            f"{relative(folder)} is being trained by another process: wait for it to end, or stop it, or "
            "start a new run without --ckpt_path"
        ) from error
    except (OSError, NotImplementedError):  # no locks here, or the folder is not writable, which the run reports itself
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError):  # Windows cannot delete an open file
            os.unlink(lock.lock_file)
        lock.release()


def is_training(folder: Path) -> bool:
    """Whether a process is currently training the run in this folder."""
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

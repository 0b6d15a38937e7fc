"""Files that are either whole or not there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any


@contextmanager
def replacing(path: Path, mode: str = "wb", **options: Any) -> Iterator[IO[Any]]:
    """Open a file that takes the place of ``path`` once it is written and on the disk.

    Whatever interrupts it, a power cut included, leaves the file that was there before.

    Args:
        path: what is replaced, or made.
        mode: as for ``open``.
        options: as for ``open``.

    Raises:
        OSError: it cannot be written; nothing is left of it.
    """
    part = path.with_name(path.name + ".part")
    try:
        with open(part, mode, **options) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        move(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def move(source: Path, target: Path) -> None:
    """Give a file another name in the same folder, in place of what bore it, for good even if the power fails."""
    os.replace(source, target)
    with suppress(OSError):  # not every system lets a folder be opened
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

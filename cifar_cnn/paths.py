"""Paths as messages and files show them."""

import os


def relative(path: str | os.PathLike, start: str | os.PathLike = os.curdir) -> str:
    """A path relative to a folder, by default the current one.

    Without a relative path, as from one drive of Windows to another or in a folder that was deleted, the path itself.
    """
    try:
        return os.path.relpath(path, start)
    except (ValueError, FileNotFoundError):
        return os.fspath(path)

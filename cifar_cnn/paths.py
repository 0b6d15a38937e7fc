"""Paths as messages and files show them."""

import os
from pathlib import Path


def relative(path: str | os.PathLike, start: str | os.PathLike = os.curdir) -> str:
    """A path relative to a folder, by default the current one.

    Without a relative path, as from one drive of Windows to another or in a folder that was deleted, the path itself.
    """
    try:
        return os.path.relpath(path, start)
    except (ValueError, FileNotFoundError):
        return os.fspath(path)


def expanded(path: str | os.PathLike) -> Path:
    """A path with the user's home for a leading ``~``, which stays for a user without one."""
    return Path(os.path.expanduser(path))


def user_folder(variable: str, default: str) -> Path | None:
    """A folder of the user as the XDG specification names it; None for a user without a home.

    Args:
        variable: of the environment, such as ``XDG_CACHE_HOME``.
        default: where the folder is otherwise, in the home.
    """
    if folder := os.environ.get(variable):
        return Path(folder)
    home = os.path.expanduser("~")
    return None if home == "~" else Path(home, default)

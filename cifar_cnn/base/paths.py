"""Convert paths for messages and files, and find the user's folders."""

import os
from pathlib import Path

from cifar_cnn.base.errors import InputError


def relative(path: str | os.PathLike, start: str | os.PathLike = os.curdir) -> str:
    """A path relative to a folder, by default the current one.

    The path is returned unchanged if there is no relative path: between drives of Windows, or if the current folder was
    deleted.
    """
    try:
        return os.path.relpath(path, start)
    except (ValueError, FileNotFoundError):
        return os.fspath(path)


def check_output_folder(folder: Path, own: str, what: str) -> None:
    """Check that a command that writes into a folder replaces no foreign files.

    Args:
        folder: it may be missing.
        own: a file in it that shows that it was written by the same command; without this file, it must be empty.
        what: what such a folder contains, for the message.

    Raises:
        InputError: the folder is a file or holds other files.
    """
    if folder.exists() and not (folder / own).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not the folder of {what}: choose another folder")


def expanded(path: str | os.PathLike) -> Path:
    """Replace a leading ``~`` with the user's home folder; it is kept for a user without one."""
    return Path(os.path.expanduser(path))


def user_folder(variable: str, default: str) -> Path | None:
    """A folder of the user according to the XDG specification; None for a user without a home folder.

    Args:
        variable: environment variable, such as ``XDG_CACHE_HOME``.
        default: path of the folder in the home folder if the variable is not set.
    """
    if folder := os.environ.get(variable):
        return Path(folder)
    home = os.path.expanduser("~")
    return None if home == "~" else Path(home, default)

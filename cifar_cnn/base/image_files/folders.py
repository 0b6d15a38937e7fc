"""Find the image files in a folder and its subfolders."""

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.image_files.decoding import is_image_name


class ImageFile(NamedTuple):
    """A file and its size and times, which show whether its contents have changed."""

    path: Path
    size: int  # bytes
    modified: int  # ns: st_mtime_ns
    changed: int  # ns: st_ctime_ns, which tools cannot set


class Skipped:
    """Counts the skipped files by reason."""

    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()

    def add(self, reason: str) -> None:
        """Count one file."""
        self.reasons[reason] += 1

    def add_other(self, name: str) -> None:
        """Count a file without the extension of an image."""
        extension = os.path.splitext(name)[1].lower()
        self.reasons[f"extension {extension}" if extension else "no extension"] += 1

    def __bool__(self) -> bool:
        return bool(self.reasons)

    def __str__(self) -> str:
        """For example ``skipped 3 files: broken link (1), extension .heic (2)``."""
        total = self.reasons.total()
        reasons = ", ".join(f"{reason} ({count})" for reason, count in sorted(self.reasons.items()))
        return f"skipped {total} file{'s' * (total != 1)}: {reasons}"


def image_files(root: Path, skipped: Skipped, onerror: Callable[[OSError], None]) -> Iterator[Path]:
    """The files in a folder and its subfolders that have the extension of an image.

    They are sorted by name; the files of a folder come before those of its subfolders. Links to folders are followed,
    unless they point to a folder above them. Hidden files and folders are ignored.

    Args:
        root: the folder.
        skipped: counts all other files.
        onerror: called with the error of an unreadable folder.
    """
    for place, folders, files in os.walk(root, onerror=onerror, followlinks=True):
        shown = sorted(name for name in folders if not name.startswith("."))
        back = {name for name in shown if _leads_back(os.fspath(root), place, name)}
        skipped.reasons.update(["circular link"] * len(back))
        folders[:] = [name for name in shown if name not in back]
        for name in sorted(files):
            if is_image_name(name):
                yield Path(place, name)
            elif not name.startswith("."):
                skipped.add_other(name)


def regular_files(folder: Path, skipped: Skipped) -> list[ImageFile]:
    """The image files in a folder and its subfolders, without broken links and special files, which are skipped.

    Raises:
        InputError: a folder cannot be read.
    """

    def fail(error: OSError) -> None:
        raise InputError(f"{error.filename}: {error.strerror}") from error

    found = []
    for path in image_files(folder, skipped, fail):
        try:
            status = path.stat()
        except OSError:  # the link is broken or circular
            skipped.add("broken link")
            continue
        if stat.S_ISREG(status.st_mode):
            found.append(ImageFile(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
        else:
            skipped.add("not a regular file")
    return found


def _leads_back(root: str, place: str, name: str) -> bool:
    """Whether the folder ``name`` in ``place``, below ``root``, is a link to a folder above it."""
    path = os.path.join(place, name)
    if not os.path.islink(path):
        return False
    target = os.path.realpath(path)
    while os.path.realpath(place) != target:
        if len(place) <= len(root):
            return False
        place = os.path.dirname(place)
    return True

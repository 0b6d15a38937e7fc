"""Finding the image files below a folder."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from cifar_cnn.data.decoding import is_image_name


class Skipped:
    """Counts the files that are passed over, by the reason."""

    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()

    def add(self, reason: str) -> None:
        """Count one file."""
        self.reasons[reason] += 1

    def add_ending(self, name: str) -> None:
        """Count a file whose name has the ending of no image format that is read."""
        ending = os.path.splitext(name)[1].lower()
        self.reasons[f"ending {ending}" if ending else "no ending"] += 1

    def __bool__(self) -> bool:
        return bool(self.reasons)

    def __str__(self) -> str:
        """Such as ``skipped 3 files: broken link (1), ending .heic (2)``."""
        total = self.reasons.total()
        reasons = ", ".join(f"{reason} ({count})" for reason, count in sorted(self.reasons.items()))
        return f"skipped {total} file{'s' * (total != 1)}: {reasons}"


def image_files(root: Path, skipped: Skipped, onerror: Callable[[OSError], None]) -> Iterator[Path]:
    """The files below a folder that are named as images, in order of name; each folder's files before its folders.

    Links to folders are followed, except those that lead back into a folder that they lie in. Files and folders whose
    names start with a dot are hidden and passed over.

    Args:
        root: the folder.
        skipped: counts the other files.
        onerror: called with the error of a folder that cannot be read.
    """
    for place, folders, files in os.walk(root, onerror=onerror, followlinks=True):
        shown = sorted(name for name in folders if not name.startswith("."))
        back = {name for name in shown if _leads_back(os.fspath(root), place, name)}
        skipped.reasons.update(["link that leads back"] * len(back))
        folders[:] = [name for name in shown if name not in back]
        for name in sorted(files):
            if is_image_name(name):
                yield Path(place, name)
            elif not name.startswith("."):
                skipped.add_ending(name)


def _leads_back(root: str, place: str, name: str) -> bool:
    """Whether a folder in ``place``, below ``root``, is a link to a folder on the way to it."""
    path = os.path.join(place, name)
    if not os.path.islink(path):
        return False
    target = os.path.realpath(path)
    while os.path.realpath(place) != target:
        if len(place) <= len(root):
            return False
        place = os.path.dirname(place)
    return True

"""Image files in one folder per class."""

import logging
import os
import unicodedata
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.image_files.decoding import IMAGE_SUFFIXES, is_image_name
from cifar_cnn.base.image_files.folders import ImageFile, Skipped, regular_files

log = logging.getLogger("cifar_cnn")


def class_names_in(folder: Path) -> tuple[str, ...]:
    """The sorted names of the subfolders of ``folder``.

    Raises:
        InputError: there are fewer than two folders, or a name cannot be printed.
    """
    names = tuple(sorted(entry.name for entry in _folders(folder)))
    if len(names) < 2:
        raise InputError(f"{folder} needs one folder per class, at least two; it has {len(names)}")
    for name in names:  # Cc: control characters; Cs: bytes that are not text
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
            raise InputError(f"{folder} has a class that cannot be printed, {name!a}: rename it")
    return names


def files_of_classes(
    folder: Path, names: tuple[str, ...], known: str, all_filled: bool
) -> tuple[list[ImageFile], list[int]]:
    """The image files of all classes, and the index of each file's class.

    Args:
        folder: folder with one subfolder per class.
        names: names of the classes.
        known: what has these classes, for the message about unknown subfolders.
        all_filled: whether each class needs at least one image.

    Raises:
        InputError: there are no images, a class that needs images has none, or a subfolder is not one of the classes.
    """
    unknown = sorted({entry.name for entry in _folders(folder)} - set(names))
    if unknown:
        raise InputError(f"{folder} has classes that {known} does not have: {', '.join(unknown)}")
    extensions = " ".join(sorted(IMAGE_SUFFIXES))
    files: list[ImageFile] = []
    labels: list[int] = []
    skipped = Skipped()
    for label, name in enumerate(names):
        found = regular_files(folder / name, skipped) if (folder / name).is_dir() else []
        if not found and all_filled:
            why = f"; {skipped}" if skipped else ""
            raise InputError(f"{folder / name} has no images ({extensions}); remove it or fill it{why}")
        files += found
        labels += [label] * len(found)
    if not files:
        raise InputError(f"{folder} has no images ({extensions})")
    outside = sum(is_image_name(entry.name) and not entry.is_dir() for entry in os.scandir(folder))
    skipped.reasons.update(["outside of the classes' folders"] * outside)
    if skipped and rank_zero_only.rank == 0:  # type: ignore[attr-defined]
        log.warning("%s: %s", folder, skipped)
    return files, labels


def _folders(root: Path) -> list[os.DirEntry[str]]:
    try:
        return [entry for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(
            f"{root}: {error.strerror or error}; ImageFolder needs root, a folder DIR with DIR/train/<class>/ and "
            "DIR/test/<class>/",
            options=["data.source.root"],
        ) from error

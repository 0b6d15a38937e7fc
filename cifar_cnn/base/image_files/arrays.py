"""Images and labels in NumPy files, checked before they are read. Pickled objects are never loaded."""

import math
import zipfile
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.image_files.memory import available_memory, check_memory, in_words
from cifar_cnn.base.paths import relative
from cifar_cnn.base.tables import printable

_MOST_CHANNELS = 4
_FIX = ": write it with np.savez(FILE, images=images, labels=labels)"


class ArrayFiles(NamedTuple):
    """Images and their labels.

    Attributes:
        images: an .npz file with the arrays ``images``, ``labels`` and, optionally, ``class_names``, or an .npy file of
            images. Images are uint8, (N, H, W, C), (N, C, H, W) with up to 4 channels, or (N, H, W); H equals W.
        labels: an .npy file of labels, integers (N,); None if they are in ``images``.
    """

    images: Path
    labels: Path | None = None


def read_images(
    files: ArrayFiles, class_names: tuple[str, ...], rows: tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Read images and their labels.

    Args:
        files: the files. Of an .npy file, only ``rows`` are read.
        class_names: the classes that the labels are indices of.
        rows: first image, and end; by default all.

    Returns:
        The images, (N, C, H, W), and the labels, int64 (N,).

    Raises:
        InputError: a file cannot be read, has other classes, or an array has another type, shape or length.
    """
    path = files.images
    if (names := _read_names(path)) not in (None, class_names):
        raise InputError(f"{relative(path)} has the classes {', '.join(names)}, not {', '.join(class_names)}")
    images = read_array(path, "images")
    images = images[:, None] if images.ndim == 3 else images  # gray
    channels_first = _is_channels_first(images, path)
    given = _read_labels(files)
    if given.max() >= len(class_names):
        raise InputError(
            f"{relative(files.labels or path)}: labels go from {given.min()} to {given.max()}, but there are "
            f"{len(class_names)} classes, 0 to {len(class_names) - 1}"
        )
    if len(given) != len(images):
        raise InputError(f"{relative(path)} has {len(images):,} images, but there are {len(given):,} labels")
    first, end = rows or (0, len(images))
    if not 0 <= first < end <= len(images):
        raise InputError(f"{relative(path)} has the rows 0 to {len(images)}; {first} to {end} were requested")
    check_memory(end - first, images.shape[2], resizable=False)
    chosen = images[first:end]
    return np.ascontiguousarray(chosen if channels_first else chosen.transpose(0, 3, 1, 2)), given[first:end]


def read_class_names(files: ArrayFiles) -> tuple[str, ...]:
    """The classes that an .npz file names, or else the numbers from 0 to the highest label.

    Raises:
        InputError: the file cannot be read, or an array has another type or shape.
    """
    return _read_names(files.images) or tuple(map(str, range(int(_read_labels(files).max()) + 1)))


def read_array(path: Path, name: str, fix: str = _FIX) -> np.ndarray:
    """An array of an .npz file, or that of an .npy file, mapped into memory.

    Args:
        path: the file.
        name: name of the array in an .npz file, and in messages.
        fix: end of the message about a missing array or another type of file.

    Raises:
        InputError: the file cannot be read, lacks the array, or the array is larger than the memory.
    """
    try:
        if not _is_archive(path, fix):
            return np.load(path, mmap_mode="r", allow_pickle=False)  # checks that the file is as long as declared
        with zipfile.ZipFile(path) as archive:
            return _read_part(archive, _parts(archive)[name])
    except InputError:
        raise
    except KeyError as error:
        there = ", ".join(_names(path)) or "no arrays"
        raise InputError(f"{relative(path)} has no array {name!r}; it has {there}{fix}") from error
    except OSError as error:
        raise InputError(f"{relative(path)} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # damaged files raise many types
        raise InputError(f"{relative(path)}: {name} cannot be read: {' '.join(str(error).split())}") from error


def declared(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type that the header of an .npy file declares; reads no further than the header.

    Raises:
        ValueError: it is not an .npy file.
    """
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    return shape, dtype


def _read_part(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> np.ndarray:
    """Read an array after checking its declared size, because a few compressed bytes can stand for gigabytes."""
    with archive.open(part) as stream:
        shape, dtype = declared(stream)
        needed, left = math.prod(shape) * dtype.itemsize, part.file_size - stream.tell()
    if dtype.hasobject:
        raise ValueError("Python objects are not loaded: save an array of numbers")
    if needed != left:
        raise ValueError(f"its header declares {in_words(needed)}; {in_words(left)} follow")
    if (available := available_memory()) is not None and needed > available:
        raise InputError(f"{archive.filename} needs {in_words(needed)} of memory; {in_words(available)} are available")
    with archive.open(part) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def _read_labels(files: ArrayFiles) -> np.ndarray:
    """The labels: int64, (N,)."""
    path = files.labels or files.images
    if files.labels is None and not _is_archive(path):
        raise InputError(f"{relative(path)} holds no labels: give them as a separate .npy file")
    labels = read_array(path, "labels")
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels):
        one_hot = labels.ndim == 2 and labels.shape[1] > 1
        fix = "save labels.argmax(1)" if one_hot else "save integers of shape (N,)"
        raise InputError(f"{relative(path)}: labels are {labels.dtype} of shape {labels.shape}: {fix}")
    if labels.min() < 0:
        raise InputError(f"{relative(path)}: labels are class indices from 0; the smallest is {labels.min()}")
    return labels.astype(np.int64)


def _read_names(path: Path) -> tuple[str, ...] | None:
    """The array ``class_names`` of an .npz file; None if there is none."""
    if not _is_archive(path) or "class_names" not in _names(path):
        return None
    names = read_array(path, "class_names")
    if names.dtype.kind != "U" or names.ndim != 1:
        raise InputError(f"{relative(path)}: class_names must be text, one for each class: np.array(['cat', 'dog'])")
    return tuple(map(printable, names.tolist()))


def _is_archive(path: Path, fix: str = _FIX) -> bool:
    """Whether a file is .npz rather than .npy.

    Raises:
        InputError: it is neither, or cannot be read.
    """
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for a writer
            raise OSError("it is not a file")
        with path.open("rb") as stream:
            start = stream.read(6)
    except OSError as error:
        raise InputError(f"{relative(path)} cannot be read: {error.strerror or error}") from error
    if not start.startswith((b"PK", b"\x93NUMPY")):
        raise InputError(f"{relative(path)} is not an .npz or .npy file{fix}")
    return start.startswith(b"PK")


def _names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return list(_parts(archive))


def _parts(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    return {part.filename.removesuffix(".npy"): part for part in archive.infolist()}


def _is_channels_first(images: np.ndarray, path: Path) -> bool:
    """Whether images are (N, C, H, W) and not (N, H, W, C); checks that they are one of these."""
    start = f"{relative(path)}: images are {images.dtype} of shape {images.shape}"
    if images.dtype != np.uint8:
        fix = "(images * 255).round().astype('uint8'), if they go from 0 to 1" if images.dtype.kind == "f" else "uint8"
        raise InputError(f"{start}: save them as {fix}")
    if images.ndim != 4:
        raise InputError(f"{start}: save them as (N, H, W, C), (N, C, H, W) or, for gray ones, (N, H, W)")
    first, last = images.shape[1] <= _MOST_CHANNELS, images.shape[3] <= _MOST_CHANNELS
    if not (first or last):
        raise InputError(f"{start}: save them as (N, H, W, C) or (N, C, H, W), with up to {_MOST_CHANNELS} channels")
    if first and last:
        raise InputError(f"{start}, which could be (N, C, H, W) or (N, H, W, C): use images of over 4 pixels a side")
    height, width = images.shape[2:] if first else images.shape[1:3]
    if height != width:
        raise InputError(f"{start}: crop or scale them to squares")
    return first

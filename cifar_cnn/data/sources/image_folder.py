"""Images of one's own, in a folder a class."""

import hashlib
import logging
import os
import stat
import unicodedata
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from cifar_cnn.data.decoding import IMAGE_SUFFIXES, decode_all, is_image_name
from cifar_cnn.data.folders import Skipped, image_files
from cifar_cnn.data.images import ImageSet, random_order
from cifar_cnn.data.sources.base import Source, Split
from cifar_cnn.data.sources.cache import read_caches, write_cache
from cifar_cnn.errors import InputError
from cifar_cnn.files import locked

SAMPLE = 256  # files whose first bytes are part of the fingerprint
log = logging.getLogger("cifar_cnn")


class _File(NamedTuple):
    path: Path
    size: int  # bytes
    modified: int  # ns: st_mtime_ns
    changed: int  # ns: st_ctime_ns, which no tool sets back


class ImageFolder(Source):
    """Images in folders: ``root/train/<class>/*`` and ``root/test/<class>/*``, of any common format and size.

    Folders below a class's folder and links to folders belong to that class. Each image is scaled and centre-cropped
    to ``image_size`` and kept, decoded, in a cache file; a changed folder or ``image_size`` is noticed by ``root``, the
    names, sizes and times of the files, and the contents of some.

    Args:
        root: the folder that has ``train`` and ``test``.
        image_size: pixels a side.
        cache: folder for the cache, which several sources may share; by default ``.cifar_cnn_cache`` in ``root`` or,
            where that cannot be written, in the user's cache folder.
        class_names: the classes in the order of their labels; by default the names of the folders in ``train``, sorted.
            A test takes those of the checkpoint, and needs no ``train``.
    """

    FORMAT = 2  # of the cache file; another number makes older ones be decoded again

    def __init__(
        self,
        root: str | os.PathLike,
        image_size: int = 32,
        cache: str | os.PathLike | None = None,
        class_names: list[str] | None = None,
    ) -> None:
        self.given_names = tuple(class_names) if class_names is not None else None
        self.root = Path(root).expanduser()
        self.image_size = image_size
        self.cache = Path(cache).expanduser() if cache is not None else None
        self._prepared: dict[Split, ImageSet] = {}
        if image_size < 1:
            raise InputError(f"image_size is in pixels, 1 or more; not {image_size}")

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the labels; looked up once, for the folders may go while a run needs them.

        Raises:
            InputError: there is no such folder, fewer than two classes in it, or one whose name cannot be printed.
        """
        if self.given_names is not None:
            return self.given_names
        names = tuple(sorted(entry.name for entry in _folders(self.root / "train")))
        if len(names) < 2:
            raise InputError(f"{self.root / 'train'} needs a folder a class, two or more; it has {len(names)}")
        for name in names:  # Cc: control characters; Cs: bytes that are no text
            if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
                raise InputError(f"{self.root / 'train'} has a class that cannot be printed, {name!a}: rename it")
        return names

    def prepare(self, split: Split = "train") -> None:
        """Decode what is not in the cache yet, and keep it for the next ``load``."""
        self._prepared[split] = self.load(split)

    def load(self, split: Split) -> ImageSet:
        """The images of a split, from the cache or decoded; (N, 3, image_size, image_size).

        Raises:
            InputError: a folder is missing or empty, or a file cannot be read as an image.
        """
        if split in self._prepared:
            return self._prepared.pop(split)
        files, labels = self._scan(split)
        fingerprint = self._fingerprint(split, files)
        caches = [folder / self._cache_name(split) for folder in self._cache_folders()]
        images = read_caches(caches, fingerprint, len(labels))
        if images is None:
            with locked(*self._cache_folders()):
                images = read_caches(caches, fingerprint, len(labels))  # written by another process, meanwhile
                if images is None:
                    images = decode_all([file.path for file in files], self.image_size, split)
                    any(write_cache(cache, fingerprint, images) for cache in caches)
        return ImageSet(images, labels, self.class_names)

    def _scan(self, split: Split) -> tuple[list[_File], Tensor]:
        names, folder, skipped = self.class_names, self.root / split, Skipped()
        strangers = sorted({entry.name for entry in _folders(folder)} - set(names))
        if strangers:
            known = "train" if self.given_names is None else f"the network ({', '.join(names)})"
            raise InputError(f"{folder} has classes that {known} has not: {', '.join(strangers)}")
        files: list[_File] = []
        labels: list[int] = []
        for label, name in enumerate(names):
            found = _files_below(folder / name, skipped) if (folder / name).is_dir() else []
            if not found and split == "train":
                raise InputError(
                    f"{folder / name} has no images ({' '.join(sorted(IMAGE_SUFFIXES))}); remove it or fill it"
                    + (f"; {skipped}" if skipped else "")
                )
            files += found
            labels += [label] * len(found)
        if not files:
            raise InputError(f"{folder} has no images ({' '.join(sorted(IMAGE_SUFFIXES))})")
        outside = sum(is_image_name(entry.name) and not entry.is_dir() for entry in os.scandir(folder))
        skipped.reasons.update(["outside of the classes' folders"] * outside)
        if skipped and rank_zero_only.rank == 0:  # type: ignore[attr-defined]
            log.warning("%s: %s", folder, skipped)
        return files, torch.tensor(labels)

    def _fingerprint(self, split: Split, files: list[_File]) -> str:
        root = self.root.resolve()
        digest = hashlib.sha256(f"{self.FORMAT} {self.image_size} {split} {root}\n".encode(errors="surrogateescape"))
        for file in files:
            path = os.path.relpath(file.path, self.root)
            digest.update(f"{path}\0{file.size}\0{file.modified}\0{file.changed}\n".encode(errors="surrogateescape"))
        for index in random_order(len(files))[:SAMPLE]:
            with suppress(OSError), files[index].path.open("rb") as stream:  # decoding tells which cannot be read
                digest.update(stream.read(2**16))
        return digest.hexdigest()

    def _cache_name(self, split: Split) -> str:
        return f"{split}-{self.image_size}px-{self._key}.npz"

    @property
    def _key(self) -> str:
        """Stands for ``root`` in the names of cache files, for several sources may share a folder."""
        return hashlib.sha256(os.fsencode(self.root.resolve())).hexdigest()[:16]

    def _cache_folders(self) -> list[Path]:
        if self.cache is not None:
            return [self.cache]
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return [self.root / ".cifar_cnn_cache", home / "cifar_cnn" / self._key]


def _files_below(folder: Path, skipped: Skipped) -> list[_File]:
    """The image files of a class; ``skipped`` counts the others."""

    def fail(error: OSError) -> None:
        raise InputError(f"{error.filename}: {error.strerror}") from error

    found = []
    for path in image_files(folder, skipped, fail):
        try:
            status = path.stat()
        except OSError:  # nothing is there, or links go round in a circle
            skipped.add("broken link")
            continue
        if stat.S_ISREG(status.st_mode):
            found.append(_File(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
        else:
            skipped.add("no regular file")
    return found


def _folders(root: Path) -> list[os.DirEntry[str]]:
    try:
        return [entry for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(
            f"{root}: {error.strerror or error}; ImageFolder needs --data.source.root DIR "
            "with DIR/train/<class>/ and DIR/test/<class>/"
        ) from error

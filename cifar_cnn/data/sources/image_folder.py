"""Images of one's own, in a folder a class."""

import hashlib
import os
import unicodedata
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from cifar_cnn.data.decoding import IMAGE_SUFFIXES, decode_all, is_image_name
from cifar_cnn.data.images import ImageSet
from cifar_cnn.data.sources.base import Source, Split
from cifar_cnn.data.sources.cache import read_caches, write_cache
from cifar_cnn.errors import InputError
from cifar_cnn.files import locked


class ImageFolder(Source):
    """Images in folders: ``root/train/<class>/*`` and ``root/test/<class>/*``, of any common format and size.

    Each is scaled and centre-cropped to ``image_size`` and kept, decoded, in a cache file; a changed folder or
    ``image_size`` is noticed by the names, sizes and times of the files.

    Args:
        root: the folder that has ``train`` and ``test``.
        image_size: pixels a side.
        cache: folder for the cache; by default ``.cifar_cnn_cache`` in ``root`` or, where that cannot be written, in
            the user's cache folder.
    """

    FORMAT = 1  # of the cache file; another number makes older ones be decoded again

    def __init__(self, root: str | os.PathLike, image_size: int = 32, cache: str | os.PathLike | None = None) -> None:
        self.root = Path(root).expanduser()
        self.image_size = image_size
        self.cache = Path(cache).expanduser() if cache is not None else None
        self._prepared: dict[Split, ImageSet] = {}
        if image_size < 1:
            raise InputError(f"image_size is in pixels, 1 or more; not {image_size}")

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The names of the folders in ``train``, sorted; looked up once, for the folders may go while a run needs them.

        Raises:
            InputError: there is no such folder, fewer than two classes in it, or one whose name cannot be printed.
        """
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
                    images = decode_all([Path(file.path) for file in files], self.image_size, split)
                    any(write_cache(cache, fingerprint, images) for cache in caches)
        return ImageSet(images, labels, self.class_names)

    def _scan(self, split: Split) -> tuple[list[os.DirEntry[str]], Tensor]:
        names = self.class_names
        strangers = sorted({entry.name for entry in _folders(self.root / split)} - set(names))
        if strangers:
            raise InputError(f"{self.root / split} has classes that train has not: {', '.join(strangers)}")
        files: list[os.DirEntry[str]] = []
        labels: list[int] = []
        for label, name in enumerate(names):
            folder = self.root / split / name
            found = [
                entry
                for entry in (os.scandir(folder) if folder.is_dir() else ())
                if is_image_name(entry.name) and _is_file(entry)
            ]
            if not found and split == "train":
                raise InputError(f"{folder} has no images ({' '.join(sorted(IMAGE_SUFFIXES))}); remove it or fill it")
            files += sorted(found, key=lambda entry: entry.name)
            labels += [label] * len(found)
        if not files:
            raise InputError(f"{self.root / split} has no images ({' '.join(sorted(IMAGE_SUFFIXES))})")
        return files, torch.tensor(labels)

    def _fingerprint(self, split: Split, files: list[os.DirEntry[str]]) -> str:
        digest = hashlib.sha256(f"{self.FORMAT} {self.image_size} {split}\n".encode())
        for entry in files:
            status = entry.stat()
            path = os.path.relpath(entry.path, self.root)
            digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def _cache_name(self, split: Split) -> str:
        return f"{split}-{self.image_size}px.npz"

    def _cache_folders(self) -> list[Path]:
        if self.cache is not None:
            return [self.cache]
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        key = hashlib.sha256(os.fsencode(self.root.resolve())).hexdigest()[:16]
        return [self.root / ".cifar_cnn_cache", home / "cifar_cnn" / key]


def _folders(root: Path) -> list[os.DirEntry[str]]:
    try:
        return [entry for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(
            f"{root}: {error.strerror or error}; ImageFolder needs --data.source.root DIR "
            "with DIR/train/<class>/ and DIR/test/<class>/"
        ) from error


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # links that go round in a circle
        return False

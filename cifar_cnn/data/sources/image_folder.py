"""Your own images, in one folder per class."""

import hashlib
import logging
import os
import unicodedata
from functools import cached_property
from pathlib import Path

import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from cifar_cnn.data.images import ImageSet
from cifar_cnn.data.sources.base import Source, Split
from cifar_cnn.errors import InputError
from cifar_cnn.image_files.cache import fingerprint, read_or_make
from cifar_cnn.image_files.decoding import IMAGE_SUFFIXES, decode_all, is_image_name
from cifar_cnn.image_files.folders import ImageFile, Skipped, regular_files
from cifar_cnn.paths import expanded, user_folder

log = logging.getLogger("cifar_cnn")


class ImageFolder(Source):
    """Images in folders: ``root/train/<class>/*`` and ``root/test/<class>/*``, of any common format and size.

    Subfolders of a class's folder and linked folders belong to that class. Images are scaled and centre-cropped to
    ``image_size`` and kept, decoded, in a cache file. The cache notices changed files by their names, sizes, times and
    the contents of some.

    Args:
        root: the folder that has ``train`` and ``test``.
        image_size: pixels a side.
        cache: folder for the cache, which several sources may share; by default ``.cifar_cnn_cache`` in ``root`` or, if
            that cannot be written, in the user's cache folder.
        class_names: the classes in the order of their labels; by default the sorted names of the folders in ``train``.
            With them, a test needs no ``train``.
    """

    FORMAT = 2  # of the cache file; with another number, older ones are decoded again

    def __init__(
        self,
        root: str | os.PathLike,
        image_size: int = 32,
        cache: str | os.PathLike | None = None,
        class_names: list[str] | None = None,
    ) -> None:
        self.given_names = tuple(class_names) if class_names is not None else None
        self.root = expanded(root)
        self.image_size = image_size
        self.cache = expanded(cache) if cache is not None else None
        self._prepared: dict[Split, ImageSet] = {}
        if image_size < 1:
            raise InputError(f"image_size must be 1 or more pixels, not {image_size}")

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the labels. They are read once: the folders may change during a run.

        Raises:
            InputError: there are fewer than two folders, or a name cannot be printed.
        """
        if self.given_names is not None:
            return self.given_names
        names = tuple(sorted(entry.name for entry in _folders(self.root / "train")))
        if len(names) < 2:
            raise InputError(f"{self.root / 'train'} needs one folder per class, at least two; it has {len(names)}")
        for name in names:  # Cc: control characters; Cs: bytes that are no text
            if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
                raise InputError(f"{self.root / 'train'} has a class that cannot be printed, {name!a}: rename it")
        return names

    def prepare(self, split: Split = "train") -> None:
        """Decode the images unless they are cached, and keep them for the next ``load``."""
        self._prepared[split] = self.load(split)

    def load(self, split: Split) -> ImageSet:
        """The images of a split, from the cache or decoded: (N, 3, image_size, image_size).

        Raises:
            InputError: a folder is missing or empty, or a file cannot be read as an image.
        """
        if split in self._prepared:
            return self._prepared.pop(split)
        files, labels = self._scan(split)
        key = fingerprint(files, self.root, self.FORMAT, self.image_size, split, self.root.resolve())

        def decode() -> Tensor:
            return decode_all([file.path for file in files], self.image_size, split)

        return ImageSet(read_or_make(self._caches(split), key, len(labels), decode), labels, self.class_names)

    def _scan(self, split: Split) -> tuple[list[ImageFile], Tensor]:
        names, folder, skipped = self.class_names, self.root / split, Skipped()
        unknown = sorted({entry.name for entry in _folders(folder)} - set(names))
        if unknown:
            known = "train" if self.given_names is None else f"the network ({', '.join(names)})"
            raise InputError(f"{folder} has classes that {known} does not have: {', '.join(unknown)}")
        endings = " ".join(sorted(IMAGE_SUFFIXES))
        files: list[ImageFile] = []
        labels: list[int] = []
        for label, name in enumerate(names):
            found = regular_files(folder / name, skipped) if (folder / name).is_dir() else []
            if not found and split == "train":
                why = f"; {skipped}" if skipped else ""
                raise InputError(f"{folder / name} has no images ({endings}); remove it or fill it{why}")
            files += found
            labels += [label] * len(found)
        if not files:
            raise InputError(f"{folder} has no images ({endings})")
        outside = sum(is_image_name(entry.name) and not entry.is_dir() for entry in os.scandir(folder))
        skipped.reasons.update(["outside of the classes' folders"] * outside)
        if skipped and rank_zero_only.rank == 0:  # type: ignore[attr-defined]
            log.warning("%s: %s", folder, skipped)
        return files, torch.tensor(labels)

    def _caches(self, split: Split) -> list[Path]:
        """The places of the cache file, in order of preference."""
        root = hashlib.sha256(os.fsencode(self.root.resolve())).hexdigest()[:16]  # several sources may share a folder
        name = f"{split}-{self.image_size}px-{root}.npz"
        if self.cache is not None and not self.read_only:
            return [self.cache / name]
        user = user_folder("XDG_CACHE_HOME", ".cache")
        caches = [user / "cifar_cnn" / root / name] if user else []
        return caches if self.read_only else [self.root / ".cifar_cnn_cache" / name, *caches]


def _folders(root: Path) -> list[os.DirEntry[str]]:
    try:
        return [entry for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(
            f"{root}: {error.strerror or error}; ImageFolder needs root, a folder DIR with DIR/train/<class>/ and "
            "DIR/test/<class>/",
            options=["data.source.root"],
        ) from error

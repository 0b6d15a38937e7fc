"""Images in one folder per class."""

import os
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.image_files.cache import cache_files, fingerprint, read_or_make
from cifar_cnn.base.image_files.class_folders import class_names_in, files_of_classes
from cifar_cnn.base.image_files.decoding import decode_all
from cifar_cnn.base.paths import expanded
from cifar_cnn.data.images import ImageSet
from cifar_cnn.data.sources.base import Source, Split


class ImageFolder(Source):
    """Images in folders ``root/train/<class>`` and ``root/test/<class>``, in any common format and size.

    The images in ``root/val/<class>``, if there is such a folder, are the validation images.

    Subfolders of a class folder, also linked ones, belong to that class. Images are scaled and center-cropped to
    ``image_size`` and cached after decoding. They are decoded again if the name, size or time of a file has changed, or
    the content of any file in a sample.

    Args:
        root: folder that contains ``train`` and ``test``.
        image_size: pixels per side.
        cache: folder for the cache, which several sources may share; by default ``.cifar_cnn_cache`` in ``root`` or, if
            ``root`` is not writable, in the user's cache folder.
        class_names: names of the class folders in the order of their labels; by default the sorted names of the folders
            in ``train``. If given, a test does not need ``train``.
        channels: 3 for RGB, 1 for gray.
    """

    FORMAT = 2  # of the cache file; caches with another number are not used

    def __init__(
        self,
        root: str | os.PathLike,
        image_size: int = 32,
        cache: str | os.PathLike | None = None,
        class_names: list[str] | None = None,
        channels: Literal[1, 3] = 3,
    ) -> None:
        self.given_names = tuple(class_names) if class_names is not None else None
        self.root = expanded(root)
        self.has_val = (self.root / "val").is_dir()
        self.image_size, self.channels = image_size, channels
        self.cache = expanded(cache) if cache is not None else None
        self._prepared: dict[Split, ImageSet] = {}
        if image_size < 1:
            raise InputError(f"image_size must be 1 or more pixels, not {image_size}")

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The class names, read once, because the folders may change; InputError without two printable names."""
        return self.given_names if self.given_names is not None else class_names_in(self.root / "train")

    def prepare(self, split: Split = "train") -> None:
        """Decode the images, unless they are cached, and keep them for the next :meth:`load`."""
        self._prepared[split] = self.load(split)

    def load(self, split: Split) -> ImageSet:
        """The images of a split, from the cache or decoded; InputError for a missing folder or an unreadable file."""
        if split in self._prepared:
            return self._prepared.pop(split)
        names, channels = self.class_names, self.channels
        known = "train" if self.given_names is None else f"the network ({', '.join(names)})"
        files, labels = files_of_classes(self.root / split, names, known, all_filled=split == "train")
        key = fingerprint(files, self.root, self.FORMAT, self.image_size, channels, split, self.root.resolve())
        caches = cache_files(
            self.root, f"{split}-{self.image_size}px{'-gray' * (channels == 1)}", self.cache, self.read_only
        )

        def decode() -> Tensor:
            return decode_all([file.path for file in files], self.image_size, split, channels)

        return ImageSet(read_or_make(caches, key, len(labels), decode), torch.tensor(labels), names)

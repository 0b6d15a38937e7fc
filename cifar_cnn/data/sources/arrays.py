"""Images in NumPy files."""

import os
from functools import cached_property

import torch

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.image_files.arrays import ArrayFiles, read_class_names, read_images
from cifar_cnn.base.paths import expanded
from cifar_cnn.data.images import ImageSet
from cifar_cnn.data.sources.base import Source, Split


class Arrays(Source):
    """Images and labels in NumPy files: your own arrays, CIFAR-10.1, or a corruption of CIFAR-10-C.

    An .npz file holds ``images``, ``labels`` and, optionally, ``class_names``. An .npy file holds images, and another
    one their labels. Images are uint8, (N, H, W, C) or (N, C, H, W) with up to 4 channels, or (N, H, W) for gray
    ones; H equals W. Labels are integers, (N,).

    Args:
        train: file of the training images; without it, the source can only be tested on.
        test: file of the test images.
        train_labels: .npy file of the training labels, unless they are in ``train``.
        test_labels: .npy file of the test labels, unless they are in ``test``.
        test_rows: start and end of the test images to use: [40000, 50000] is severity 5 in a file of CIFAR-10-C.
        class_names: the classes in the order of their labels; by default those in the file or, in a test, those of the
            network, or else the numbers of the labels.
        val: file of the validation images; by default, some training images are used for validation.
        val_labels: .npy file of the validation labels, unless they are in ``val``.
    """

    def __init__(
        self,
        train: str | os.PathLike | None = None,
        test: str | os.PathLike | None = None,
        train_labels: str | os.PathLike | None = None,
        test_labels: str | os.PathLike | None = None,
        test_rows: tuple[int, int] | None = None,
        class_names: list[str] | None = None,
        val: str | os.PathLike | None = None,
        val_labels: str | os.PathLike | None = None,
    ) -> None:
        self.has_val = val is not None
        self.files: dict[Split, ArrayFiles | None] = {
            "train": _files(train, train_labels),
            "val": _files(val, val_labels),
            "test": _files(test, test_labels),
        }
        self.test_rows = test_rows
        self.given_names = tuple(class_names) if class_names is not None else None

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the labels; InputError if no file was given, or it cannot be read."""
        return self.given_names or read_class_names(
            self._files("train" if self.files["train"] or not self.files["test"] else "test")
        )

    def load(self, split: Split) -> ImageSet:
        """The images of a split: (N, C, H, W); InputError if there is no usable file, or it has other classes."""
        rows = self.test_rows if split == "test" else None
        images, labels = read_images(self._files(split), self.class_names, rows)
        return ImageSet(torch.from_numpy(images), torch.from_numpy(labels), self.class_names)

    def _files(self, split: Split) -> ArrayFiles:
        if (files := self.files[split]) is None:
            what = {"train": "training", "val": "validation"}.get(split, split)
            raise InputError(f"Arrays has no {what} images: give {split}, an .npz or .npy file")
        return files


def _files(images: str | os.PathLike | None, labels: str | os.PathLike | None) -> ArrayFiles | None:
    return ArrayFiles(expanded(images), expanded(labels) if labels else None) if images else None

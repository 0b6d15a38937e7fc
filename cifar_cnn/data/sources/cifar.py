"""The official CIFAR-10, and the base class that it shares with CIFAR-100."""

import os
from typing import ClassVar

from torch import Tensor
from torchvision import datasets

from cifar_cnn.base.image_files.archives import Archive, extract_into, read_archive
from cifar_cnn.base.paths import expanded
from cifar_cnn.data.images import ImageSet
from cifar_cnn.data.sources.base import Source, Split


class OfficialArchive(Source):
    """50,000 training and 10,000 test images of 32x32 pixels: the base of CIFAR10 and CIFAR100."""

    image_size = 32
    archive: ClassVar[Archive]

    def __init__(
        self, root: str | os.PathLike = "data", url: str | list[str] | None = None, timeout: float = 30.0
    ) -> None:
        self.root = expanded(root)
        url = url or self.archive.reader.url
        self.urls = [url] if isinstance(url, str) else list(url)
        self.timeout = timeout

    def prepare(self, split: Split = "train") -> None:
        """Download and extract, unless the verified files are there; InputError if that fails or is not allowed."""
        extract_into(self.root, self.archive, self.urls, self.timeout, self.read_only)

    def load(self, split: Split) -> ImageSet:
        """The 50,000 or 10,000 images: (N, 3, 32, 32); InputError if the files are missing or damaged."""
        images, labels = read_archive(self.root, self.archive, split == "train")
        return ImageSet(images, self._classes_of(labels), self.class_names)

    def _classes_of(self, labels: Tensor) -> Tensor:
        """Convert the labels of the archive to classes."""
        return labels


class CIFAR10(OfficialArchive):
    """The official CIFAR-10: 50,000 training and 10,000 test images of ten classes, 32x32 pixels.

    The archive is downloaded once, verified by its md5, and read with torchvision. An archive that is already in
    ``root`` is used without a network connection.

    Args:
        root: folder for the archive and the extracted files.
        url: address of ``cifar-10-python.tar.gz``, or a list of mirrors to try in turn; by default the official one.
            The md5 makes any mirror safe.
        timeout: seconds without an answer after which the next mirror is tried.
    """

    archive = Archive("CIFAR-10", datasets.CIFAR10, 170_498_071)
    # Of the training images. The widely copied std 0.2023, 0.1994, 0.2010 is a mean of per-image stds.
    mean_std = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
    class_names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

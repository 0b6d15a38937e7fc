"""The official CIFAR-100."""

import os
from typing import Literal

from torch import Tensor
from torchvision import datasets

from cifar_cnn.base.image_files.archives import Archive
from cifar_cnn.base.image_files.cifar100_labels import CLASSES, FINE_NAMES, SUPERCLASS_OF
from cifar_cnn.data.sources.cifar import OfficialArchive


class CIFAR100(OfficialArchive):
    """The official CIFAR-100: 50,000 training and 10,000 test images of 100 classes, 32x32 pixels.

    The archive is downloaded once, verified by its md5, and read with torchvision. An archive that is already in
    ``root`` is used without a network connection. The backbone needs as many outputs: ``num_classes`` 100 or 20.

    Args:
        root: folder for the archive and the extracted files.
        url: address of ``cifar-100-python.tar.gz``, or a list of mirrors to try in turn; by default the official one.
            The md5 makes any mirror safe.
        timeout: seconds without an answer after which the next mirror is tried.
        labels: ``fine``: the 100 classes; ``coarse``: their 20 superclasses.
    """

    archive = Archive("CIFAR-100", datasets.CIFAR100, 169_001_437)
    mean_std = ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))  # of the training images

    def __init__(
        self,
        root: str | os.PathLike = "data",
        url: str | list[str] | None = None,
        timeout: float = 30.0,
        labels: Literal["fine", "coarse"] = "fine",
    ) -> None:
        super().__init__(root, url, timeout)
        self.labels = labels

    @property
    def class_names(self) -> tuple[str, ...]:
        """The 100 classes or the 20 superclasses, each in alphabetical order, as in the archive."""
        return FINE_NAMES if self.labels == "fine" else tuple(CLASSES)

    def _classes_of(self, labels: Tensor) -> Tensor:
        return labels if self.labels == "fine" else SUPERCLASS_OF[labels]

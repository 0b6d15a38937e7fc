"""The official CIFAR-10, downloaded and verified."""

import os

import torch
from torchvision import datasets
from torchvision.datasets.utils import check_integrity

from cifar_cnn.data.images import ImageSet
from cifar_cnn.data.sources.base import Source, Split
from cifar_cnn.errors import InputError
from cifar_cnn.image_files.archives import Archive, extract_into
from cifar_cnn.paths import expanded

ARCHIVE_BYTES = 170_498_071  # of the official archive


class CIFAR10(Source):
    """The official CIFAR-10: 50,000 training and 10,000 test images of 32x32 pixels.

    The archive is downloaded once, verified by its md5, and read with torchvision. An archive that is already in
    ``root`` is used without a network connection.

    Args:
        root: folder for the archive and the extracted files.
        url: address of ``cifar-10-python.tar.gz``, or a list of mirrors to try in turn. The md5 makes any mirror safe.
        timeout: seconds without an answer after which the next mirror is tried.
    """

    # Of the training images. The widely copied std 0.2023, 0.1994, 0.2010 is a mean of per-image stds.
    mean_std = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
    image_size = 32
    class_names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

    def __init__(
        self, root: str | os.PathLike = "data", url: str | list[str] = datasets.CIFAR10.url, timeout: float = 30.0
    ) -> None:
        self.root = expanded(root)
        self.urls = [url] if isinstance(url, str) else list(url)
        self.timeout = timeout

    def prepare(self, split: Split = "train") -> None:
        """Download and extract, unless the verified files are there.

        Raises:
            InputError: no mirror has the archive, ``root`` cannot be written, or the source is read-only.
        """
        if self._extracted():
            return
        if self.read_only:
            raise InputError(
                f"CIFAR-10 is not in {self.root}, and is not downloaded for a checkpoint that you have not trained: "
                "set CIFAR_CNN_TRUST=cifar_cnn, or name the source with the option --data.source CIFAR10"
            )
        archive = Archive("CIFAR-10", datasets.CIFAR10.filename, datasets.CIFAR10.tgz_md5, ARCHIVE_BYTES)
        extract_into(self.root, archive, self.urls, self.timeout, self._extracted)

    def _extracted(self) -> bool:
        base = self.root / datasets.CIFAR10.base_folder
        files = [*datasets.CIFAR10.train_list, *datasets.CIFAR10.test_list]
        files.append([datasets.CIFAR10.meta["filename"], datasets.CIFAR10.meta["md5"]])
        return all(check_integrity(base / name, md5) for name, md5 in files)

    def load(self, split: Split) -> ImageSet:
        """The 50,000 or 10,000 images: (N, 3, 32, 32); InputError if the files are missing or damaged."""
        try:
            dataset = datasets.CIFAR10(self.root, train=split == "train")
        except RuntimeError as error:
            raise InputError(f"no CIFAR-10 in {self.root}: set root, or train first", ["data.source.root"]) from error
        images = torch.from_numpy(dataset.data).permute(0, 3, 1, 2).contiguous()
        return ImageSet(images, torch.tensor(dataset.targets), self.class_names)

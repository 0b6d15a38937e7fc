"""Download the archive of a data set that torchvision reads, and extract it."""

import os
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import check_integrity, extract_archive

from cifar_cnn.base.download import download
from cifar_cnn.base.errors import InputError
from cifar_cnn.base.files import locked


class Archive(NamedTuple):
    """The archive of a data set.

    Attributes:
        data_set: name of the data set, for messages.
        reader: torchvision's class, with the address of the archive and the checksums.
        size: its size in bytes; a longer download is rejected.
    """

    data_set: str
    reader: type[CIFAR10]
    size: int

    def is_extracted(self, root: Path) -> bool:
        """Whether a folder has the verified files."""
        meta = self.reader.meta
        files = [*self.reader.train_list, *self.reader.test_list, [meta["filename"], meta["md5"]]]
        return all(check_integrity(root / self.reader.base_folder / name, md5) for name, md5 in files)


def extract_into(root: Path, archive: Archive, urls: list[str], timeout: float, read_only: bool = False) -> None:
    """Download an archive into ``root`` and extract it, unless it is there; only one process per machine does so.

    Args:
        root: folder for the archive and the extracted files.
        archive: the archive.
        urls: addresses to try in turn.
        timeout: seconds without a response after which the next address is tried.
        read_only: whether nothing may be downloaded.

    Raises:
        InputError: no address has the archive, ``root`` cannot be written, or nothing may be downloaded.
    """
    if archive.is_extracted(root):
        return
    if read_only:
        raise InputError(
            f"{archive.data_set} is not in {root}, and is not downloaded for a checkpoint that you have not trained: "
            "set CIFAR_CNN_TRUST=cifar_cnn, or name the source with the option --data.source "
            f"{archive.reader.__name__}"
        )
    path = root / archive.reader.filename
    try:
        root.mkdir(parents=True, exist_ok=True)
        with locked(root):
            if archive.is_extracted(root):  # another process may have done it in the meantime
                return
            if not check_integrity(path, archive.reader.tgz_md5):
                _download(path, archive, urls, timeout)
            extract_archive(os.fspath(path), os.fspath(root))
    except OSError as error:
        raise InputError(
            f"cannot prepare {archive.data_set} in {root}: {error}; free space, or set root to another folder",
            options=["data.source.root"],
        ) from error
    if not archive.is_extracted(root):
        raise InputError(f"the files extracted to {root} are damaged: remove {path} and run again")


def read_archive(root: Path, archive: Archive, train: bool) -> tuple[Tensor, Tensor]:
    """Read the images and labels of an extracted archive.

    Args:
        root: folder of the extracted files.
        archive: the archive.
        train: whether to read the training images rather than the test images.

    Returns:
        The images, uint8 (N, 3, 32, 32), and the labels, int64 (N,).

    Raises:
        InputError: the files are missing or damaged.
    """
    try:
        dataset = archive.reader(root, train=train)
    except RuntimeError as error:
        raise InputError(
            f"no {archive.data_set} in {root}: set root, or train first", options=["data.source.root"]
        ) from error
    return torch.from_numpy(dataset.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(dataset.targets)


def _download(path: Path, archive: Archive, urls: list[str], timeout: float) -> None:
    failures = download(urls, path, archive.reader.tgz_md5, archive.size, timeout)
    if failures:
        damaged = f"{path} is damaged, remove it; " if path.exists() else ""
        raise InputError(
            f"{damaged}{archive.data_set} could not be downloaded ({'; '.join(failures)}): put {path.name} into "
            f"{path.parent}, or set url to a mirror, or train on other images: the source ImageFolder with your own, "
            "or Shapes, which needs no files",
            options=["data.source.url", "data.source"],
        )

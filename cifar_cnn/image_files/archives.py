"""Download the archive of a data set and extract it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from torchvision.datasets.utils import check_integrity, extract_archive

from cifar_cnn.download import download
from cifar_cnn.errors import InputError
from cifar_cnn.files import locked


class Archive(NamedTuple):
    """The archive of a data set.

    Attributes:
        data_set: name of the data set, for messages.
        file_name: name of the archive.
        md5: its checksum.
        size: its size in bytes; a longer download is rejected.
    """

    data_set: str
    file_name: str
    md5: str
    size: int


def extract_into(
    root: Path, archive: Archive, urls: list[str], timeout: float, is_extracted: Callable[[], bool]
) -> None:
    """Download an archive into ``root``, unless it is there, and extract it; only one process per machine does so.

    Args:
        root: folder for the archive and the extracted files.
        archive: the archive.
        urls: addresses to try in turn.
        timeout: seconds without a response after which the next address is tried.
        is_extracted: returns whether the extracted files exist and are intact.

    Raises:
        InputError: no address has the archive, or ``root`` cannot be written.
    """
    path = root / archive.file_name
    try:
        root.mkdir(parents=True, exist_ok=True)
        with locked(root):
            if is_extracted():  # another process may have done it in the meantime
                return
            if not check_integrity(path, archive.md5):
                _download(path, archive, urls, timeout)
            extract_archive(os.fspath(path), os.fspath(root))
    except OSError as error:
        raise InputError(
            f"cannot prepare {archive.data_set} in {root}: {error}; free space, or set root to another folder",
            options=["data.source.root"],
        ) from error
    if not is_extracted():
        raise InputError(f"the files extracted to {root} are damaged: remove {path} and run again")


def _download(path: Path, archive: Archive, urls: list[str], timeout: float) -> None:
    failures = download(urls, path, archive.md5, archive.size, timeout)
    if failures:
        damaged = f"{path} is damaged, remove it; " if path.exists() else ""
        raise InputError(
            f"{damaged}{archive.data_set} could not be downloaded ({'; '.join(failures)}): put {path.name} into "
            f"{path.parent}, or set url to a mirror, or train on other images: the source ImageFolder with your own, "
            "or Shapes, which needs no files",
            options=["data.source.url", "data.source"],
        )

"""Download a file and verify it."""

import errno
from http.client import HTTPException
from pathlib import Path
from typing import IO
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from torchvision.datasets.utils import calculate_md5
from tqdm import tqdm

from cifar_cnn.base.files import remove_leftovers, replacing

_FULL = (errno.ENOSPC, errno.EDQUOT)


def download(urls: list[str], target: Path, md5: str, most_bytes: int, timeout: float) -> list[str]:
    """Download a file from the first address that has it.

    The file gets its final name once it is verified. Only one process at a time may download it.

    Args:
        urls: addresses to try in turn.
        target: path of the downloaded file.
        md5: its checksum.
        most_bytes: maximum size; larger files are rejected.
        timeout: seconds to wait for a response.

    Returns:
        One line per failed address; empty after a success.

    Raises:
        OSError: the file cannot be written.
    """
    remove_leftovers(target.parent, target.name)
    failures = []
    for url in urls:
        try:
            with replacing(target) as file:
                _fetch(url, file, most_bytes, timeout)
                file.flush()
                if (found := calculate_md5(file.name)) != md5:
                    raise ValueError(f"damaged (md5 {found})")
        except (OSError, ValueError, HTTPException) as error:  # urlopen raises ValueError for an invalid address
            failures.append(f"{url}: {_reason(error)}")
        else:
            return []
    return failures


def _fetch(url: str, file: IO[bytes], most_bytes: int, timeout: float) -> None:
    with urlopen(Request(url, headers={"User-Agent": "cifar-cnn"}), timeout=timeout) as response:
        total = int(response.headers.get("Content-Length") or 0) or None
        with tqdm(desc="Downloading", total=total, unit="B", unit_scale=True) as progress:
            while chunk := response.read(2**18):
                if progress.n + len(chunk) > most_bytes:
                    raise ValueError(f"damaged (over {most_bytes} bytes)")
                file.write(chunk)
                progress.update(len(chunk))


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"HTTP {error.code}"
    if isinstance(error, OSError) and (error.filename is not None or error.errno in _FULL):
        raise error  # the disk, not the network
    return str(error)

"""Cache decoded images in files for later runs."""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

import numpy as np
import torch
from torch import Tensor

from cifar_cnn.base.files import locked, remove_leftovers, replacing
from cifar_cnn.base.image_files.folders import ImageFile
from cifar_cnn.base.paths import relative, user_folder

SAMPLE = 256  # number of files whose first bytes are part of the fingerprint


def fingerprint(files: list[ImageFile], root: Path, *settings: object) -> str:
    """SHA-256 over the files' names, sizes and times, and over the contents of a sample of them.

    Args:
        files: the files.
        root: folder that the names are relative to.
        settings: all other values that the decoded images depend on.
    """
    digest = hashlib.sha256((" ".join(map(str, settings)) + "\n").encode(errors="surrogateescape"))
    for file in files:
        path = relative(file.path, root)
        digest.update(f"{path}\0{file.size}\0{file.modified}\0{file.changed}\n".encode(errors="surrogateescape"))
    for index in torch.randperm(len(files), generator=torch.Generator().manual_seed(0))[:SAMPLE]:
        with suppress(OSError), files[index].path.open("rb") as stream:  # decoding reports unreadable files
            digest.update(stream.read(2**16))
    return digest.hexdigest()


def cache_files(root: Path, name: str, folder: Path | None, read_only: bool) -> list[Path]:
    """The possible places of a cache file, in order of preference.

    Args:
        root: folder of the images.
        name: start of the file's name.
        folder: the user's choice; by default a hidden folder in ``root``, then the user's cache folder.
        read_only: only the user's cache folder may be written to.
    """
    digest = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]  # several sources may share a folder
    file_name = f"{name}-{digest}.npz"
    if folder is not None and not read_only:
        return [folder / file_name]
    user = user_folder("XDG_CACHE_HOME", ".cache")
    places = [user / "cifar_cnn" / digest / file_name] if user else []
    return places if read_only else [root / ".cifar_cnn_cache" / file_name, *places]


def read_or_make(paths: list[Path], key: str, length: int, make: Callable[[], Tensor]) -> Tensor:
    """Read images from a cache file, or create them and write the file; only one process per machine creates them.

    Args:
        paths: possible paths of the cache file, in order of preference; the first one that can be written is used.
        key: the fingerprint of the images.
        length: number of images.
        make: returns the images: uint8, (length, 3, H, W).
    """
    images = _read_first(paths, key, length)
    if images is None:
        with locked(*(path.parent for path in paths)):
            images = _read_first(paths, key, length)  # another process may have written them in the meantime
            if images is None:
                images = make()
                any(_write(path, key, images) for path in paths)
    return images


def _read_first(paths: list[Path], key: str, length: int) -> Tensor | None:
    found = (_read(path, key) for path in paths)
    return next((images for images in found if images is not None and len(images) == length), None)


def _read(path: Path, key: str) -> Tensor | None:
    try:
        with ZipFile(path) as archive:  # a compressed file of a few megabytes could fill the memory
            if any(part.compress_type != ZIP_STORED for part in archive.infolist()):
                return None
        with np.load(path, allow_pickle=False) as cache:
            if str(cache["fingerprint"]) == key:
                return torch.from_numpy(cache["images"])
    except Exception:  # missing, truncated or from another version: decode again
        pass
    return None


def _write(path: Path, key: str, images: Tensor) -> bool:
    """Write a cache file; return False if that is not possible."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent, path.name)  # they are as large as the cache itself
        with replacing(path) as file:
            np.savez(file, fingerprint=np.array(key), images=images.numpy())
    except OSError:  # a read-only folder or a full disk; the run also works without a cache
        return False
    return True

"""Files that keep decoded images for the next run."""

import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def read_caches(paths: list[Path], fingerprint: str, length: int) -> Tensor | None:
    """The images (uint8, (length, 3, H, W)) of the first file that has them under ``fingerprint``, or None."""
    found = (_read_cache(path, fingerprint) for path in paths)
    return next((images for images in found if images is not None and len(images) == length), None)


def _read_cache(path: Path, fingerprint: str) -> Tensor | None:
    try:
        with np.load(path, allow_pickle=False) as cache:
            if str(cache["fingerprint"]) == fingerprint:
                return torch.from_numpy(cache["images"])
    except Exception:  # missing, cut short, of another version: whatever is wrong, decode again
        pass
    return None


def write_cache(path: Path, fingerprint: str, images: Tensor) -> bool:
    """Write a cache file as a whole; False where that is not possible."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            temporary = Path(file.name)
            np.savez(file, fingerprint=np.array(fingerprint), images=images.numpy())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:  # a folder that cannot be written, a full disk: the run goes on without a cache
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        return False
    return True

"""Image files of any format as uint8 RGB of one size."""

import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from cifar_cnn.errors import InputError

IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".avif", ".ppm", ".pgm", ".tif", ".tiff", ".tga")
)
# What Pillow raises for a file that it cannot read; on damaged ones its decoders are not choosy.
UNREADABLE = (
    *(OSError, ValueError, SyntaxError, TypeError, LookupError, ArithmeticError, EOFError, MemoryError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)
MAX_PIXELS = 64 * 2**20  # of an image: few bytes can stand for many pixels, and each core decodes one at a time


def is_image_name(name: str) -> bool:
    """Whether a file of this name is taken for an image: by its ending, and hidden ones are not."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not name.startswith(".")


def decode_image(path: Path, size: int) -> np.ndarray:
    """Read one image as uint8 RGB of (size, size, 3): turned upright, scaled and centre-cropped.

    Raises:
        UNREADABLE: the file is no image that Pillow can read.
    """
    if not path.is_file():  # to open a pipe would wait for somebody to write into it
        raise OSError(f"{path} is no file")
    with Image.open(path) as image:
        if image.width * image.height > MAX_PIXELS:
            raise Image.DecompressionBombError(f"{image.width}x{image.height} pixels")
        if image.mode.startswith(("I", "F")):  # 16 bits and more a pixel, which convert("RGB") would clip
            values = np.asarray(image, dtype=np.float32)
            full = 65535.0 if values.max(initial=0) > 255 else 255.0
            upright = Image.fromarray((values * (255 / full)).clip(0, 255).astype(np.uint8)).convert("RGB")
        else:
            upright = ImageOps.exif_transpose(image).convert("RGB")
        if upright.size != (size, size):
            upright = ImageOps.fit(upright, (size, size), Image.Resampling.BICUBIC)
        return np.asarray(upright)


def decode_all(paths: list[Path], size: int, name: str) -> Tensor:
    """Read many images, several at a time: uint8, (N, 3, size, size).

    Args:
        paths: of the files.
        size: pixels a side.
        name: what the images are, for the progress bar.

    Raises:
        InputError: some of the files cannot be read as images.
    """
    images = torch.empty(len(paths), 3, size, size, dtype=torch.uint8)
    rows = images.numpy()

    def decode(index: int) -> Path | None:
        try:
            rows[index] = decode_image(paths[index], size).transpose(2, 0, 1)
        except UNREADABLE:
            return paths[index]
        return None

    # Threads, since Pillow decodes without holding the interpreter's lock; processes would copy every image.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(decode, range(len(paths)))
        progress = tqdm(results, f"Decoding {name} images", len(paths), unit=" images", mininterval=0.5)
        broken = [path for path in progress if path is not None]
    if broken:
        listed = ", ".join(map(str, broken[:5])) + (f" and {len(broken) - 5} more" if len(broken) > 5 else "")
        raise InputError(
            f"{len(broken)} of {len(paths)} files cannot be read as images: {listed}; repair or remove them"
        )
    return images

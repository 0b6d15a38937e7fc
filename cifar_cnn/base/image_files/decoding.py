"""Decode image files of any format to uint8 RGB of one size."""

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

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.image_files.memory import check_memory

IMAGE_SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".gif", ".webp", ".avif", ".tif", ".tiff"),
        *(".pbm", ".pgm", ".ppm", ".pnm", ".pfm", ".tga", ".jp2", ".j2k", ".pcx", ".qoi"),
    )
)
# The exceptions that Pillow raises for unreadable files; damaged files raise almost any type.
UNREADABLE = (
    *(OSError, ValueError, SyntaxError, TypeError, LookupError, ArithmeticError, EOFError, MemoryError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)
MAX_PIXELS = 64 * 2**20  # limit for an image: a small file can hold a huge image, and each core decodes one at a time


def is_image_name(name: str) -> bool:
    """Whether a file name has the extension of an image and is not hidden."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not name.startswith(".")


def check_decodable(channels: int) -> None:
    """Check that image files can be decoded to this number of channels.

    Raises:
        InputError: it is neither 3, for RGB, nor 1, for gray.
    """
    if channels not in (1, 3):
        raise InputError(f"image files are read as RGB or gray; the network takes images of {channels} channels")


def decode_image(path: Path, size: int, channels: int = 3) -> np.ndarray:
    """Read one image as uint8 of shape (size, size, channels): turned upright, scaled and center-cropped.

    It becomes RGB, or gray for one channel. Transparency is dropped: a pixel keeps its stored color, as in
    torchvision's ImageFolder. Of 16 bits per pixel, the upper 8 are kept. Floats are taken to range from 0 to 1, or
    from 0 to 255 if a value is above 1; 32-bit integers from 0 to 255.

    Raises:
        UNREADABLE: Pillow cannot read the file, or (InputError) the range of its values is unknown.
    """
    if not path.is_file():  # opening a pipe would wait for a writer
        raise OSError(f"{path} is not a file")
    with Image.open(path) as image:
        if image.width * image.height > MAX_PIXELS:
            raise Image.DecompressionBombError(f"{image.width}x{image.height} pixels")
        upright = ImageOps.exif_transpose(image)
        if image.mode.startswith(("I", "F")):  # convert("RGB") would clip these
            upright = Image.fromarray(_levels(upright, image.format))
        elif image.mode in ("P", "PA"):  # avoids Pillow's warning about palettes with transparent colors
            upright = upright.convert("RGBA")
        upright = upright.convert("L" if channels == 1 else "RGB")
        if upright.size != (size, size):
            upright = ImageOps.fit(upright, (size, size), Image.Resampling.BICUBIC)
        return np.asarray(upright).reshape(size, size, channels)


def _levels(image: Image.Image, file_format: str | None) -> np.ndarray:
    """A gray image with 16 or 32 bits per pixel as uint8 (H, W).

    Args:
        image: an image in mode I;16, I;16B, I or F.
        file_format: the format of the file; integers in PNG and PPM have 16 bits even if Pillow reports mode I.
    """
    values = np.asarray(image)
    if image.mode != "F" and (image.mode.startswith("I;16") or file_format in ("PNG", "PPM")):
        return (values >> 8).astype(np.uint8)
    highest = values.max(initial=0)
    if not np.isfinite(values).all() or highest > 255:
        raise InputError("32 bits per pixel with values above 255 or not finite: save it with 8 or 16 bits per pixel")
    scale = 255 if image.mode == "F" and highest <= 1 else 1
    return np.rint(values * scale).clip(0, 255).astype(np.uint8)


def why(error: BaseException) -> str:
    """The reason why an image was not read, in parentheses; empty for files that are damaged or not images."""
    return f" ({error})" if isinstance(error, InputError) else ""


def decode_all(paths: list[Path], size: int, name: str, channels: int = 3) -> Tensor:
    """Read many images in parallel: uint8, (N, channels, size, size).

    Args:
        paths: the files.
        size: side in pixels.
        name: name of the images, for the progress bar.
        channels: 3 for RGB, 1 for gray.

    Raises:
        InputError: some files cannot be read as images, or the images do not fit into memory.
    """
    check_memory(len(paths), size)
    images = torch.empty(len(paths), channels, size, size, dtype=torch.uint8)
    rows = images.numpy()

    def decode(index: int) -> str | None:
        try:
            rows[index] = decode_image(paths[index], size, channels).transpose(2, 0, 1)
        except UNREADABLE as error:
            return f"{paths[index]}{why(error)}"
        return None

    # Threads suffice, because Pillow releases the interpreter's lock while it decodes; processes would copy each image.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(decode, range(len(paths)))
        progress = tqdm(results, f"Decoding {name} images", len(paths), unit=" images", mininterval=0.5)
        broken = [file for file in progress if file is not None]
    if broken:
        listed = ", ".join(broken[:5]) + (f" and {len(broken) - 5} more" if len(broken) > 5 else "")
        raise InputError(
            f"{len(broken)} of {len(paths)} files cannot be read as images: {listed}; repair or remove them"
        )
    return images

"""Shifted images and shifted feature maps."""

import math

from torch import Tensor
from torch.nn import functional

MAX_SHIFT = 8  # pixels


def shifts_of(images: Tensor) -> range:
    """The shifts in pixels that images (N, C, H, W) are measured at: 0 to MAX_SHIFT, less than their width."""
    return range(min(MAX_SHIFT, images.shape[-1] - 1) + 1)


def shift(images: Tensor, pixels: int, direction: tuple[int, int]) -> Tensor:
    """Shift images; the pixels that enter at the opposite side are a reflection of the image there.

    Args:
        images: (N, C, H, W), any dtype.
        pixels: size of the shift, less than H and W.
        direction: (down, right), each -1, 0 or 1.
    """
    if not pixels:
        return images
    height, width = images.shape[-2:]
    padded = functional.pad(images.float(), (pixels,) * 4, "reflect")
    top, left = pixels * (1 - direction[0]), pixels * (1 - direction[1])
    return padded[..., top : top + height, left : left + width].to(images.dtype)


def shifted_maps(maps: Tensor, places: float) -> Tensor:
    """Shift feature maps to the right and drop the columns that nothing was shifted into.

    Args:
        maps: (N, C, H, W).
        places: size of the shift in columns; between two columns, values are interpolated linearly.
    """
    whole = math.floor(places)
    part = places - whole
    width = maps.shape[-1]
    if not part:
        return maps[..., : max(width - whole, 0)]
    right, left = maps[..., 1 : max(width - whole, 1)], maps[..., : max(width - whole - 1, 0)]
    return (1 - part) * right + part * left

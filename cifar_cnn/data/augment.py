"""Augmentations of a whole batch, as pure functions of the images and of random draws.

The draws are made on the CPU and travel with the batch: augmentation is the same on every device and for every number
of processes. The functions run on the images' device.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from cifar_cnn.errors import InputError
from cifar_cnn.padding import PaddingMode, padded_index, take_pixels

Flip = bool | Literal["alternating"]


class Draws(NamedTuple):
    """Random numbers for each of N images."""

    mirrored: Tensor  # bool, (N,)
    offset: Tensor  # float32, (N, 2) in [0, 1): position of the crop, down and across
    cutout: Tensor  # float32, (N, 2) in [0, 1): centre of the square, down and across

    def rows(self, start: int, step: int) -> "Draws":
        """The draws of images start, start + step, ..."""
        return Draws(*(draw[start::step] for draw in self))


def draw(n: int, generator: torch.Generator) -> Draws:
    """Draw for ``n`` images; the numbers do not depend on the augmentation that uses them."""
    uniform = torch.rand(n, 5, generator=generator)
    return Draws(uniform[:, 0] < 0.5, uniform[:, 1:3], uniform[:, 3:5])


def flip(images: Tensor, mirrored: Tensor) -> Tensor:
    """Mirror the images of (N, C, H, W) left to right where ``mirrored`` (bool, (N,)) is true."""
    return torch.where(mirrored[:, None, None, None], images.flip(-1), images)


def crop(
    images: Tensor, offset: Tensor, padding: int, mode: PaddingMode = "reflect", mirrored: Tensor | None = None
) -> Tensor:
    """Pad the images of (N, C, H, W) on all sides and cut out the original size.

    Args:
        images: any dtype.
        offset: (N, 2) in [0, 1), scaled to the 2 * padding + 1 possible positions, down and across.
        padding: pixels on each side.
        mode: ``zeros`` pads with black before normalisation, as torchvision's RandomCrop does.
        mirrored: bool, (N,): mirror these images left to right, as :func:`flip` does.
    """
    n, _, height, width = images.shape
    # All indices are made on the images' device, because a GPU would wait for each copy.
    rows, columns = (padded_index(side, padding, mode, images.device) for side in (height, width))
    # In bf16-true and 16-true training the draws have that type too, and those just below 1 have become 1.
    top, left = (offset * (2 * padding + 1)).long().clamp(max=2 * padding).unbind(1)
    across = torch.arange(width, device=images.device).expand(n, width)
    if mirrored is not None:  # in the same gather
        across = torch.where(mirrored[:, None], width - 1 - across, across)
    # The padding exists as an index only: an outside pixel is read from the place that padding would copy.
    y = rows[top[:, None] + torch.arange(height, device=images.device)][:, :, None]
    x = columns[left[:, None] + across][:, None, :]
    pixels = take_pixels(images, (y.clamp(min=0) * width + x.clamp(min=0)).flatten(1))
    return pixels.masked_fill(((y < 0) | (x < 0))[:, None], 0) if mode == "zeros" else pixels


def cutout(images: Tensor, center: Tensor, size: int) -> Tensor:
    """Set a square in each image of (N, C, H, W) to zero; parts of it may fall outside.

    Source: DeVries and Taylor, Improved Regularization of Convolutional Neural Networks with Cutout (2017).

    Args:
        images: any dtype.
        center: (N, 2) in [0, 1), scaled to the pixels of the image, down and across.
        size: side of the square in pixels.
    """
    height, width = images.shape[-2:]
    row, column = (center[:, 0] * height).long(), (center[:, 1] * width).long()
    y = torch.arange(height, device=images.device) - row[:, None] + size // 2
    x = torch.arange(width, device=images.device) - column[:, None] + size // 2
    square = ((y >= 0) & (y < size))[:, :, None] & ((x >= 0) & (x < size))[:, None, :]
    return images.masked_fill(square[:, None], 0)


def resize(images: Tensor, size: int) -> Tensor:
    """Scale uint8 images of (N, C, H, W) down to (N, C, size, size), bilinear with antialiasing, as Pillow does."""
    if images.shape[-2:] == (size, size):
        return images
    # Only the CPU has a kernel for bytes, which is fast.
    pixels = images if images.device.type == "cpu" else images.float()
    scaled = functional.interpolate(pixels, (size, size), mode="bilinear", antialias=True)
    return scaled if scaled.dtype == torch.uint8 else scaled.round().clamp(0, 255).byte()


def normalize(
    images: Tensor, mean: Tensor | Sequence[float], std: Tensor | Sequence[float], dtype: torch.dtype = torch.float32
) -> Tensor:
    """From uint8 (N, C, H, W) to ``dtype``, each channel as (x / 255 - mean) / std, in one pass over the pixels.

    Args:
        images: uint8, (N, C, H, W).
        mean: (C,), of the images in [0, 1]; a tensor on another device is copied.
        std: (C,), like ``mean``.
        dtype: of the result.
    """
    mean, std = (torch.as_tensor(values, device=images.device) for values in (mean, std))
    scale = 1 / (255 * std)
    shift = -mean / std
    # float32 until the end: bfloat16 holds the levels 0 to 255, but not their products with scale.
    return torch.addcmul(shift[:, None, None], images.float(), scale[:, None, None]).to(dtype)


def denormalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Undo :func:`normalize`: from float (N, C, H, W) to uint8."""
    mean_, std_ = (torch.as_tensor(values, device=images.device)[:, None, None] for values in (mean, std))
    return (255 * (images * std_ + mean_)).round().clamp(0, 255).byte()


@dataclass(frozen=True)
class Augment:
    """Augmentation of training images.

    Args:
        crop: shift by up to this many random pixels, by padding and cropping (0: none).
        padding_mode: content of the padding: ``reflect``, ``zeros`` or ``replicate``.
        flip: mirror each image with probability 1/2. ``alternating`` does so in the first epoch and then mirrors each
            image in every second epoch, so that two epochs show it both ways (Jordan,
            https://arxiv.org/abs/2404.00498).
        cutout: side in pixels of a random square that gets the data's mean colour (0: none).
    """

    crop: int = 0
    padding_mode: PaddingMode = "reflect"
    flip: Flip = False
    cutout: int = 0

    def __post_init__(self) -> None:
        if self.crop < 0 or self.cutout < 0:
            raise InputError(f"crop and cutout must be 0 or more pixels, not {self.crop} and {self.cutout}")

    def pixels(self, images: Tensor, draws: Draws) -> Tensor:
        """Crop and flip images of (N, C, H, W) and any dtype, before normalisation."""
        if self.crop:
            mirrored = draws.mirrored if self.flip else None
            return crop(images, draws.offset, self.crop, self.padding_mode, mirrored)
        return flip(images, draws.mirrored) if self.flip else images

    def values(self, images: Tensor, draws: Draws) -> Tensor:
        """Cutout, after normalisation, which makes the mean colour 0."""
        return cutout(images, draws.cutout, self.cutout) if self.cutout else images

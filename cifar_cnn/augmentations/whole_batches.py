"""Cutout, brightness and contrast of whole batches, on the device of the images."""

import torch
from torch import Tensor

from cifar_cnn.base.errors import InputError


def check_amounts(crop: int, cutout: int, brightness: float, contrast: float) -> None:
    """Raise an InputError for amounts of augmentation that are impossible."""
    if crop < 0 or cutout < 0:
        raise InputError(f"crop and cutout must be 0 or more pixels, not {crop} and {cutout}")
    if brightness < 0 or not 0 <= contrast <= 1:
        raise InputError(f"brightness must be 0 or more, and contrast 0 to 1; they are {brightness} and {contrast}")


def cutout(images: Tensor, place: Tensor, size: int, inside: bool = False) -> Tensor:
    """Set a square in each image of (N, C, H, W) to zero.

    Source: DeVries and Taylor, Improved Regularization of Convolutional Neural Networks with Cutout (2017).

    Args:
        images: any dtype.
        place: (N, 2) in [0, 1), scaled to the possible places of the square, down and across.
        size: side of the square in pixels.
        inside: whether the whole square must lie in the image, as in airbench96; by default only its center must, as in
            the source.
    """
    height, width = images.shape[-2:]
    less, shift = (size - 1, 0) if inside else (0, size // 2)
    row = (place[:, 0] * (height - less)).long() - shift
    column = (place[:, 1] * (width - less)).long() - shift
    y = torch.arange(height, device=images.device) - row[:, None]
    x = torch.arange(width, device=images.device) - column[:, None]
    square = ((y >= 0) & (y < size))[:, :, None] & ((x >= 0) & (x < size))[:, None, :]
    return images.masked_fill(square[:, None], 0)


def jitter(images: Tensor, amount: Tensor, brightness: float, contrast: float) -> Tensor:
    """Change brightness and contrast of each image of (N, C, H, W): add a number, then multiply by another.

    Source: hiverge/cifar10-speedrun (2025).

    Args:
        images: normalized, so that contrast is relative to the mean color of the data.
        amount: (N, 2) in [0, 1), scaled to [-brightness, brightness) and to [1 - contrast, 1 + contrast).
        brightness: largest number added.
        contrast: largest difference of the factor from 1.
    """
    spread = (2 * amount - 1).to(images.dtype)[:, :, None, None, None]
    return (images + brightness * spread[:, 0]) * (1 + contrast * spread[:, 1])

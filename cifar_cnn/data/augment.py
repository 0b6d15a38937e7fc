"""Augmentations of whole batches, as pure functions of the images and of random draws.

The draws are generated on the CPU and passed with the batch, so that augmentation does not depend on the device or the
number of processes. The functions run on the device of the images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.padding import PaddingMode, padded_index, take_pixels

Flip = bool | Literal["alternating"]


class Draws(NamedTuple):
    """Random numbers for N images."""

    mirrored: Tensor  # bool, (N,)
    offset: Tensor  # float32, (N, 2) in [0, 1): position of the crop, down and across
    cutout: Tensor  # float32, (N, 2) in [0, 1): place of the square, down and across
    jitter: Tensor  # float32, (N, 2) in [0, 1): brightness and contrast

    def rows(self, start: int, step: int) -> "Draws":
        """The draws for the images start, start + step, ..."""
        return Draws(*(draw[start::step] for draw in self))


def draw(n: int, generator: torch.Generator) -> Draws:
    """Generate draws for ``n`` images; the numbers do not depend on the augmentation."""
    uniform = torch.rand(n, 5, generator=generator)
    return Draws(uniform[:, 0] < 0.5, uniform[:, 1:3], uniform[:, 3:5], torch.rand(n, 2, generator=generator))


def flip(images: Tensor, mirrored: Tensor) -> Tensor:
    """Mirror the images (N, C, H, W) left to right where ``mirrored`` (bool, (N,)) is True."""
    return torch.where(mirrored[:, None, None, None], images.flip(-1), images)


def crop(
    images: Tensor, offset: Tensor, padding: int, mode: PaddingMode = "reflect", mirrored: Tensor | None = None
) -> Tensor:
    """Pad images (N, C, H, W) of any dtype by ``padding`` pixels on each side and crop them to their original size.

    ``offset``, (N, 2) in [0, 1), is scaled to the 2 * padding + 1 positions, down and across. ``zeros`` pads with
    black, like torchvision's RandomCrop. ``mirrored``, bool, (N,), selects images to mirror as well, like :func:`flip`.
    """
    n, _, height, width = images.shape
    # All indices are created on the device of the images, because a copy would force a GPU to synchronise.
    rows, columns = (padded_index(side, padding, mode, images.device) for side in (height, width))
    # In bf16-true and 16-true training, Lightning casts the draws too, which can round values just below 1 to 1.
    top, left = (offset * (2 * padding + 1)).long().clamp(max=2 * padding).unbind(1)
    across = torch.arange(width, device=images.device).expand(n, width)
    if mirrored is not None:  # in the same gather
        across = torch.where(mirrored[:, None], width - 1 - across, across)
    # No padded copy is made: a pixel outside the image is read from the position that padding would copy.
    y = rows[top[:, None] + torch.arange(height, device=images.device)][:, :, None]
    x = columns[left[:, None] + across][:, None, :]
    pixels = take_pixels(images, (y.clamp(min=0) * width + x.clamp(min=0)).flatten(1))
    return pixels.masked_fill(((y < 0) | (x < 0))[:, None], 0) if mode == "zeros" else pixels


def cutout(images: Tensor, place: Tensor, size: int, inside: bool = False) -> Tensor:
    """Set a square in each image of (N, C, H, W) to zero.

    Source: DeVries and Taylor, Improved Regularization of Convolutional Neural Networks with Cutout (2017).

    Args:
        images: any dtype.
        place: (N, 2) in [0, 1), scaled to the possible places of the square, down and across.
        size: side of the square in pixels.
        inside: whether the whole square lies in the image, as in airbench96. As in the source, its centre alone does by
            default, and parts of it may fall outside.
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
        images: normalised, so that the contrast is that to the mean colour of the data.
        amount: (N, 2) in [0, 1), scaled to [-brightness, brightness) and to [1 - contrast, 1 + contrast).
        brightness: largest number added.
        contrast: largest difference of the factor from 1.
    """
    spread = (2 * amount - 1).to(images.dtype)[:, :, None, None, None]
    return (images + brightness * spread[:, 0]) * (1 + contrast * spread[:, 1])


def resize(images: Tensor, size: int) -> Tensor:
    """Scale uint8 images of (N, C, H, W) down to (N, C, size, size), bilinear with antialiasing, as Pillow does."""
    if images.shape[-2:] == (size, size):
        return images
    # Only the CPU has a kernel for uint8, which is fast.
    pixels = images if images.device.type == "cpu" else images.float()
    scaled = functional.interpolate(pixels, (size, size), mode="bilinear", antialias=True)
    return scaled if scaled.dtype == torch.uint8 else scaled.round().clamp(0, 255).byte()


def normalize(
    images: Tensor, mean: Tensor | Sequence[float], std: Tensor | Sequence[float], dtype: torch.dtype = torch.float32
) -> Tensor:
    """Normalise each channel of uint8 images (N, C, H, W) to (x / 255 - mean) / std, as ``dtype``, in one pass.

    ``mean`` and ``std``, (C,), refer to images in [0, 1].
    """
    mean, std = (torch.as_tensor(values, device=images.device) for values in (mean, std))
    scale = 1 / (255 * std)
    shift = -mean / std
    # Compute in float32: bfloat16 represents the levels 0 to 255 exactly, but not their products with scale.
    return torch.addcmul(shift[:, None, None], images.float(), scale[:, None, None]).to(dtype)


def denormalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Undo :func:`normalize`: convert float images (N, C, H, W) to uint8."""
    mean_, std_ = (torch.as_tensor(values, device=images.device)[:, None, None] for values in (mean, std))
    return (255 * (images * std_ + mean_)).round().clamp(0, 255).byte()


@dataclass(frozen=True)
class Augment:
    """Augmentation of training images.

    Args:
        crop: maximum random shift in pixels, by padding and cropping (0: none).
        padding_mode: content of the padding: ``reflect``, ``zeros`` or ``replicate``.
        flip: mirror each image with probability 1/2. ``alternating`` mirrors each image in every second epoch, starting
            at random in the first or second (Jordan, https://arxiv.org/abs/2404.00498).
        cutout: side in pixels of a random square that is filled with the mean colour (0: none).
        cutout_inside: whether the whole square lies in the image, and not its centre alone.
        brightness: add a random number from [-brightness, brightness) to the normalised values of each image (0: none).
        contrast: multiply these values by a random number from [1 - contrast, 1 + contrast) (0: none).
    """

    crop: int = 0
    padding_mode: PaddingMode = "reflect"
    flip: Flip = False
    cutout: int = 0
    cutout_inside: bool = False
    brightness: float = 0.0
    contrast: float = 0.0

    def __post_init__(self) -> None:
        if self.crop < 0 or self.cutout < 0:
            raise InputError(f"crop and cutout must be 0 or more pixels, not {self.crop} and {self.cutout}")
        if self.brightness < 0 or not 0 <= self.contrast <= 1:
            raise InputError(
                f"brightness must be 0 or more, and contrast 0 to 1; they are {self.brightness} and {self.contrast}"
            )

    def pixels(self, images: Tensor, draws: Draws) -> Tensor:
        """Crop and flip images of (N, C, H, W) and any dtype, before normalisation."""
        if self.crop:
            mirrored = draws.mirrored if self.flip else None
            return crop(images, draws.offset, self.crop, self.padding_mode, mirrored)
        return flip(images, draws.mirrored) if self.flip else images

    def values(self, images: Tensor, draws: Draws) -> Tensor:
        """Jitter and cutout, after normalisation, which makes the mean colour 0."""
        if self.brightness or self.contrast:
            images = jitter(images, draws.jitter, self.brightness, self.contrast)
        return cutout(images, draws.cutout, self.cutout, self.cutout_inside) if self.cutout else images

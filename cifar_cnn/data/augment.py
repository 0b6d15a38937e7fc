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

from cifar_cnn.augmentations import Mixing, Transforms, as_modules, check_amounts, cutout, jitter, transformed
from cifar_cnn.base.padding import PaddingMode, padded_index, take_pixels

Flip = bool | Literal["alternating"]


class Draws(NamedTuple):
    """Random numbers for N images."""

    mirrored: Tensor  # bool, (N,)
    offset: Tensor  # float32, (N, 2) in [0, 1): position of the crop, down and across
    cutout: Tensor  # float32, (N, 2) in [0, 1): place of the square, down and across
    jitter: Tensor  # float32, (N, 2) in [0, 1): brightness and contrast
    seeds: Tensor  # int64, (N, 2): for transforms of single images, before and after normalization
    batch_seed: int  # for mixing

    def rows(self, start: int, step: int) -> "Draws":
        """The draws for the images start, start + step, ..."""
        return Draws(*(draw[start::step] for draw in self[:-1]), self.batch_seed)  # type: ignore[call-arg, arg-type]


def draw(n: int, generator: torch.Generator) -> Draws:
    """Generate draws for ``n`` images; the numbers do not depend on the augmentation."""
    uniform, jitter = (torch.rand(n, numbers, generator=generator) for numbers in (5, 2))
    seeds = torch.randint(2**62, (n + 1, 2), generator=generator)
    return Draws(uniform[:, 0] < 0.5, uniform[:, 1:3], uniform[:, 3:5], jitter, seeds[:n], int(seeds[n, 0]))


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
    # All indices are created on the device of the images, because a copy would force a GPU to synchronize.
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
    """Normalize each channel of uint8 images (N, C, H, W) to (x / 255 - mean) / std, as ``dtype``, in one pass.

    ``mean`` and ``std``, (C,), refer to images in [0, 1].
    """
    mean, std = (torch.as_tensor(values, device=images.device) for values in (mean, std))
    scale = 1 / (255 * std)
    shift = -mean / std
    # Compute in float32: bfloat16 represents the levels 0 to 255 exactly, but not their products with scale.
    return torch.addcmul(shift[:, None, None], images.float(), scale[:, None, None]).to(dtype)


@dataclass(frozen=True)
class Augment:
    """Augmentation of training images.

    Args:
        crop: maximum random shift in pixels, by padding and cropping (0: none).
        padding_mode: content of the padding: ``reflect``, ``zeros`` or ``replicate``.
        flip: mirror each image with probability 1/2. ``alternating`` mirrors each image in every second epoch, starting
            at random in the first or second (Jordan, https://arxiv.org/abs/2404.00498).
        cutout: side in pixels of a random square that is filled with the mean color (0: none).
        cutout_inside: whether the whole square must lie in the image, rather than only its center.
        brightness: add a random number from [-brightness, brightness) to the normalized values of each image (0: none).
        contrast: multiply these values by a random number from [1 - contrast, 1 + contrast) (0: none).
        transforms: transforms of single images, such as torchvision's RandAugment, on uint8 (C, H, W) after crop and
            flip, on the CPU.
        normalized_transforms: the same on normalized floats, after cutout, such as torchvision's RandomErasing.
        mix: torchvision's MixUp or CutMix, or a list from which one is drawn for each batch; last, on the device.
    """

    crop: int = 0
    padding_mode: PaddingMode = "reflect"
    flip: Flip = False
    cutout: int = 0
    cutout_inside: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    transforms: Transforms = None
    normalized_transforms: Transforms = None
    mix: Mixing = None

    def __post_init__(self) -> None:
        check_amounts(self.crop, self.cutout, self.brightness, self.contrast)
        list(map(as_modules, (self.transforms, self.normalized_transforms, self.mix)))  # to check them

    @property
    def of_single_images(self) -> bool:
        """Whether there are transforms of single images."""
        return bool(self.transforms or self.normalized_transforms)

    def pixels(self, images: Tensor, draws: Draws) -> Tensor:
        """Crop, flip and transform uint8 images of (N, C, H, W), before normalization."""
        if self.crop:
            images = crop(images, draws.offset, self.crop, self.padding_mode, draws.mirrored if self.flip else None)
        elif self.flip:
            images = flip(images, draws.mirrored)
        return transformed(self.transforms, images, draws.seeds[:, 0])

    def values(self, images: Tensor, draws: Draws) -> Tensor:
        """Jitter, cutout and transforms, after normalization, which makes the mean color 0."""
        if self.brightness or self.contrast:
            images = jitter(images, draws.jitter, self.brightness, self.contrast)
        if self.cutout:
            images = cutout(images, draws.cutout, self.cutout, self.cutout_inside)
        return transformed(self.normalized_transforms, images, draws.seeds[:, 1])

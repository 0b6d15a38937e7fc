"""Augmentations of a whole batch, as pure functions of the images and of random draws made beforehand.

The draws of a batch are made on the CPU and travel with it, so that an image is augmented alike on every device and
in every number of processes. The functions themselves run wherever the images are.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from cifar_cnn.errors import InputError

PaddingMode = Literal["reflect", "zeros", "replicate"]
Flip = bool | Literal["alternating"]


class Draws(NamedTuple):
    """What chance decides for each of N images."""

    mirrored: Tensor  # bool, (N,)
    offset: Tensor  # float32, (N, 2): where the crop lies, down and across, in [0, 1)
    cutout: Tensor  # float32, (N, 2): where the square's centre lies, down and across, in [0, 1)

    def rows(self, start: int, step: int) -> "Draws":
        """The draws of images start, start + step, ..."""
        return Draws(*(draw[start::step] for draw in self))


def draw(n: int, generator: torch.Generator) -> Draws:
    """Draw for ``n`` images; the same numbers whatever is then done with them."""
    uniform = torch.rand(n, 5, generator=generator)
    return Draws(uniform[:, 0] < 0.5, uniform[:, 1:3], uniform[:, 3:5])


def flip(images: Tensor, mirrored: Tensor) -> Tensor:
    """Mirror left to right the images of (N, C, H, W) for which ``mirrored`` (bool, (N,)) is true."""
    return torch.where(mirrored[:, None, None, None], images.flip(-1), images)


def crop(
    images: Tensor, offset: Tensor, padding: int, mode: PaddingMode = "reflect", mirrored: Tensor | None = None
) -> Tensor:
    """Pad the images of (N, C, H, W) on all sides and cut the original size out again.

    Args:
        images: any dtype.
        offset: (N, 2) in [0, 1); scaled to the 2 * padding + 1 places, down and across, that the crop can have.
        padding: pixels on each side.
        mode: ``zeros`` pads black before normalisation, as torchvision's RandomCrop does.
        mirrored: bool, (N,): what is cut out of these is mirrored left to right, as :func:`flip` does.
    """
    n, _, height, width = images.shape
    # All indices are made on the images' device: a GPU would wait for each copy.
    rows, columns = (_padded_index(side, padding, mode, images.device) for side in (height, width))
    # Where training is all in bfloat16 or float16 so are the draws, and those just below 1 have become 1.
    top, left = (offset * (2 * padding + 1)).long().clamp(max=2 * padding).unbind(1)
    across = torch.arange(width, device=images.device).expand(n, width)
    if mirrored is not None:  # in the same gather
        across = torch.where(mirrored[:, None], width - 1 - across, across)
    # The padding exists as an index only: what lies outside is read from where it would have been copied from.
    y = rows[top[:, None] + torch.arange(height, device=images.device)][:, :, None]
    x = columns[left[:, None] + across][:, None, :]
    pixels = _take_pixels(images, (y.clamp(min=0) * width + x.clamp(min=0)).flatten(1))
    return pixels.masked_fill(((y < 0) | (x < 0))[:, None], 0) if mode == "zeros" else pixels


def _take_pixels(images: Tensor, places: Tensor) -> Tensor:
    """Images of (N, C, H, W) made of the pixels at ``places`` (int64, (N, H * W)), counted row by row."""
    n, channels, height, width = images.shape
    pixels = images.permute(0, 2, 3, 1)
    if images.dtype == torch.uint8 and channels <= 4:
        # A pixel as one number of 32 bits: gathering these takes less than half the time of three bytes each.
        packed = images.new_empty(n, height, width, 4)
        packed[..., :channels] = pixels
        taken = packed.view(torch.int32).view(n, -1).gather(1, places)
        return taken.view(torch.uint8).view(n, height, width, 4)[..., :channels].permute(0, 3, 1, 2)
    flat = pixels.reshape(n, height * width, channels)
    return flat.gather(1, places[..., None].expand_as(flat)).view(n, height, width, channels).permute(0, 3, 1, 2)


def _padded_index(size: int, padding: int, mode: PaddingMode, device: torch.device) -> Tensor:
    """For each place along a padded side of ``size`` pixels the pixel it shows; -1 is black."""
    place = torch.arange(-padding, size + padding, device=device)
    if mode == "replicate":
        return place.clamp(0, size - 1)
    if mode == "reflect":
        if padding >= size:
            raise InputError(f"reflect padding of {padding} needs images of over {padding} pixels; they have {size}")
        return (size - 1) - ((size - 1) - place.abs()).abs()
    return torch.where((place >= 0) & (place < size), place, -1)


def cutout(images: Tensor, center: Tensor, size: int) -> Tensor:
    """Blank a square of ``size`` pixels in each image of (N, C, H, W); parts of it may fall outside.

    Source: DeVries and Taylor, Improved Regularization of Convolutional Neural Networks with Cutout (2017).

    Args:
        images: any dtype; the square becomes 0.
        center: (N, 2) in [0, 1); scaled to the pixels of the image, down and across.
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
    # There is a fast kernel for bytes on the CPU, and none on a GPU.
    pixels = images if images.device.type == "cpu" else images.float()
    scaled = functional.interpolate(pixels, (size, size), mode="bilinear", antialias=True)
    return scaled if scaled.dtype == torch.uint8 else scaled.round().clamp(0, 255).byte()


def normalize(images: Tensor, mean: Tensor, std: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """From uint8 (N, C, H, W) to ``dtype``, each channel as (x / 255 - mean) / std, in one pass over the pixels."""
    scale = 1 / (255 * std)
    shift = -mean / std
    # float32 until the end: in bfloat16 the levels 0 to 255 still fit, their products with scale would not.
    return torch.addcmul(shift[:, None, None], images.float(), scale[:, None, None]).to(dtype)


@dataclass(frozen=True)
class Augment:
    """What is done to a batch of training images.

    Args:
        crop: random shift by up to this many pixels (0: none), by padding and cropping.
        padding_mode: what the shift brings in: ``reflect``, ``zeros`` or ``replicate``.
        flip: mirror every second image, at random; ``alternating``: at random in the first epoch, and from then on in
            every epoch the other way round, so that two epochs show each image both ways (Jordan,
            https://arxiv.org/abs/2404.00498).
        cutout: side in pixels of a random square that is blanked with the data's mean colour (0: none).
    """

    crop: int = 0
    padding_mode: PaddingMode = "reflect"
    flip: Flip = False
    cutout: int = 0

    def __post_init__(self) -> None:
        if self.crop < 0 or self.cutout < 0:
            raise InputError(f"augment.crop and augment.cutout are pixels, 0 or more; not {self.crop}, {self.cutout}")

    def pixels(self, images: Tensor, draws: Draws) -> Tensor:
        """Crop and flip: what moves pixels, before normalisation. (N, C, H, W) of any dtype, same out."""
        if self.crop:
            mirrored = draws.mirrored if self.flip else None
            return crop(images, draws.offset, self.crop, self.padding_mode, mirrored)
        return flip(images, draws.mirrored) if self.flip else images

    def values(self, images: Tensor, draws: Draws) -> Tensor:
        """Cutout: what blanks pixels, after normalisation, where 0 is the mean colour. Same shape out."""
        return cutout(images, draws.cutout, self.cutout) if self.cutout else images

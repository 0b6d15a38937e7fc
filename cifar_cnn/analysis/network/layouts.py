"""The layout of a module's output: (N, C, H, W), (N, H, W, C) or a sequence of patches."""

import math
from collections.abc import Collection
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cifar_cnn.analysis.network.probes import run_with_hooks

# PyTorch documents their outputs as (N, C, H, W).
_KINDS = (
    *(nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d, nn.LPPool2d, nn.FractionalMaxPool2d),
    *(nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d, nn.Dropout2d, nn.PixelShuffle, nn.PixelUnshuffle, nn.Upsample),
)
_MOST_PREFIX = 8  # tokens that are not patches of the image: a class token and registers
_CLEAR_SHIFT = 0.05  # minimum movement of a change that counts as evidence, as a fraction of the image's side


class Layout(NamedTuple):
    """How to read an output as maps.

    Attributes:
        channels: axis of the channels; axis 0 is the batch.
        prefix: for a sequence of patches the number of tokens before the first patch; None if rows and columns have an
            axis each.
    """

    channels: int
    prefix: int | None = None

    def maps(self, output: Tensor) -> Tensor:
        """Convert an output to maps (N, C, H, W)."""
        maps = output.movedim(self.channels, 1)
        if self.prefix is None:
            return maps
        side = math.isqrt(maps.shape[2] - self.prefix)
        return maps[:, :, self.prefix :].unflatten(2, (side, side))


CHANNELS_FIRST = Layout(1)


def layouts_of(network: nn.Module, image_shape: tuple[int, ...], names: Collection[str]) -> dict[str, Layout]:
    """The layout of each named module whose output consists of maps with more than one position.

    If the class of a module does not determine the layout, it is measured. Changing first the upper and then the lower
    part of an image moves the change of the output along the axis of the rows. The left and right parts do the same for
    the columns.

    Args:
        network: a copy to experiment with, in eval mode.
        image_shape: (C, H, W).
        names: names of modules in ``named_modules``.
    """
    found: dict[str, Layout] = {}
    unsure: set[str] = set()

    def by_kind(name: str, module: nn.Module, given: Tensor | None, output: Tensor | None) -> None:
        if name not in names or name in found or output is None:
            return
        if isinstance(module, _KINDS) and output.ndim == 4:
            if max(output.shape[2:]) > 1:
                found[name] = CHANNELS_FIRST
        elif candidates(output):
            unsure.add(name)

    def by_change(name: str, module: nn.Module, given: Tensor | None, output: Tensor | None) -> None:
        if name in unsure and name not in found and output is not None and len(output) == len(images):
            layout = _layout(output.float())
            if layout is not None:
                found[name] = layout

    run_with_hooks(network, torch.randn(1, *image_shape), by_kind)
    if unsure:
        images = _changed_images(image_shape)
        run_with_hooks(network, images, by_change)
    return found


def candidates(output: Tensor) -> list[Layout]:
    """The layouts that the shape of an output allows."""
    shape = output.shape
    if output.ndim == 4:
        sides = {1: shape[2:], 3: shape[1:3]}
        return [Layout(axis) for axis, side in sides.items() if max(side) > 1]
    if output.ndim != 3:
        return []
    found = []
    for axis, places in ((2, shape[1]), (1, shape[2])):
        side = math.isqrt(places)
        if side > 1 and places - side**2 <= _MOST_PREFIX:
            found.append(Layout(axis, places - side**2))
    return found


def _changed_images(image_shape: tuple[int, ...]) -> Tensor:
    """An image, and the same image with other values in its upper, lower, left and right quarter: (5, C, H, W)."""
    image, other = torch.randn(2, *image_shape, generator=torch.Generator().manual_seed(0))
    height, width = image_shape[1:]
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    places = (rows < height / 4, rows >= 3 * height / 4, columns < width / 4, columns >= 3 * width / 4)
    return torch.stack([image, *(torch.where(place, other, image) for place in places)])


def _layout(output: Tensor) -> Layout | None:
    """The candidate along whose rows and columns the change moves most; None if it moves along none.

    Args:
        output: output for :func:`_changed_images`.
    """
    shifts = {layout: _shift(layout.maps(output)) for layout in candidates(output)}
    best = max(shifts, key=lambda layout: shifts[layout])
    if shifts[best] > _CLEAR_SHIFT:
        return best
    if shifts[best] < -_CLEAR_SHIFT:
        return None
    # In deep maps with few places, each place sees the whole image. Since images are square, so are their maps.
    square = [layout for layout in shifts if layout.prefix is None and _is_square(layout.maps(output))]
    return square[0] if len(square) == 1 else None


def _is_square(maps: Tensor) -> bool:
    return maps.shape[2] == maps.shape[3]


def _shift(maps: Tensor) -> float:
    """How far the change of maps (5, C, H, W) follows the change of the image, as a fraction of the image's side.

    This is the smaller of the movements along rows and columns, minus the movement across them.
    """
    change = (maps[1:] - maps[0]).abs().sum(1)  # (upper, lower, left, right; H; W)
    rows, columns = (_centres(change.sum(axis)) for axis in (2, 1))
    along = ((rows[1] - rows[0]).item(), (columns[3] - columns[2]).item())
    across = max(abs((rows[3] - rows[2]).item()), abs((columns[1] - columns[0]).item()))
    smaller = min(along) - across
    return smaller if math.isfinite(smaller) else -1.0


def _centres(change: Tensor) -> Tensor:
    """The centers of mass of changes along an axis, from 0 to 1: (4, places) to (4,)."""
    places = (torch.arange(change.shape[1]) + 0.5) / change.shape[1]
    return (change * places).sum(1) / change.sum(1)

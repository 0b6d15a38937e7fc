"""Receptive fields: the part of the image that a layer sees, by arithmetic if that is reliable, else by measurement."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cifar_cnn.analysis.network.layouts import Layout
from cifar_cnn.analysis.network.probes import run_with_hooks
from cifar_cnn.analysis.network.reach import FollowReach, NoReach, Reach, reach_of

MEASURE_MACS = 40e9  # multiply-adds to spend on a measurement: a second or two on a laptop
_AT_A_TIME = 32  # images


class Field(NamedTuple):
    """The part of the image that one value of a feature map depends on.

    Attributes:
        size: its side in pixels, the larger one if they differ; None for the whole image.
        stride: distance between neighboring values in pixels of the image.
        known: whether the size could be determined; if not, ``size`` is None.
    """

    size: int | None
    stride: int
    known: bool = True


def fields_of(
    network: nn.Module, image_shape: tuple[int, ...], layouts: dict[str, Layout], macs: int
) -> dict[str, Field]:
    """The receptive field of each module's output.

    NaN pixels mark all values that depend on them: unlike a gradient, NaN is never hidden by a ReLU, by max-pooling or
    by a very small weight. Marks at the four borders of the image show which layers see the whole image. For the other
    layers the size follows by arithmetic if the network calls only convolutions, poolings and pointwise functions
    before them; it may then be larger than the image, since it includes padding. Otherwise each row and each column is
    marked in turn.

    Args:
        network: a copy to experiment with, in eval mode.
        image_shape: (C, H, W).
        layouts: layouts of the modules whose outputs are maps.
        macs: multiply-adds for one image. If a measurement would take more than MEASURE_MACS, the size stays unknown.
    """
    fields: dict[str, Field] = {}
    to_measure: dict[str, Layout | None] = {}
    for name, seen in _seen_at_borders(network, image_shape, layouts).items():
        reach = seen.reach
        if isinstance(reach, Reach):
            size = None if None in reach.sizes else max(size for size in reach.sizes if size is not None)
            fields[name] = Field(size, max(reach.strides))
        elif reach is NoReach.MEASURE and bool(seen.by_all.any()):
            fields[name] = Field(None, seen.stride)
        else:
            fields[name] = Field(None, seen.stride, known=False)
            if reach is NoReach.MEASURE and seen.batch_first:
                to_measure[name] = layouts.get(name)
    if to_measure and sum(image_shape[1:]) * macs <= MEASURE_MACS:
        measured = _measure(network, image_shape, to_measure)
        fields |= {name: field._replace(stride=field.stride or fields[name].stride) for name, field in measured.items()}
    return fields


@dataclass
class _Seen:
    """The result of the marks at the borders for one module.

    Attributes:
        reach: receptive field by arithmetic.
        by_all: for each value of the output, whether all marks so far have reached it.
        stride: stride that follows from the size of the map; 1 without a map.
        batch_first: whether the first axis is the batch.
    """

    reach: Reach | NoReach
    by_all: Tensor
    stride: int
    batch_first: bool


def _seen_at_borders(network: nn.Module, image_shape: tuple[int, ...], layouts: dict[str, Layout]) -> dict[str, _Seen]:
    """Mark the first and the last row and column, each in a separate image."""
    found: dict[str, _Seen] = {}
    height, width = image_shape[1:]
    for axis, place in ((2, 0), (2, height - 1), (3, 0), (3, width - 1)):
        for name, (reached, reach) in _marks(network, image_shape, axis, [place]).items():
            if name not in found:
                layout = layouts.get(name)
                stride = max(1, round(height / layout.maps(reached).shape[2])) if layout else 1
                found[name] = _Seen(reach, torch.ones_like(reached), stride, reached.shape[0] == 1)
            seen = found[name]
            seen.by_all &= reached
            if reached.ndim == 4 and isinstance(seen.reach, Reach) and not _agrees(reached, seen.reach, axis):
                seen.reach = NoReach.MEASURE
    return found


def _marks(
    network: nn.Module, image_shape: tuple[int, ...], axis: int, places: Sequence[int], names: Collection[str] = ()
) -> dict[str, tuple[Tensor, Reach | NoReach]]:
    """For each module, which values of its first output depend on marked pixels, and its reach by arithmetic.

    Args:
        network: called with one image for each place.
        image_shape: (C, H, W).
        axis: 2 to mark a row of an image, 3 to mark a column.
        places: indices of the rows or columns.
        names: names of the modules; empty for all modules.
    """
    found: dict[str, tuple[Tensor, Reach | NoReach]] = {}

    def note(name: str, module: nn.Module, given: Tensor | None, output: Tensor | None) -> None:
        if output is not None and name not in found and (name in names or not names):
            found[name] = output.isnan(), reach_of(output)

    images = torch.randn(image_shape, generator=torch.Generator().manual_seed(0)).repeat(len(places), 1, 1, 1)
    for image, place in zip(images, places, strict=True):
        image.select(axis - 1, place).fill_(math.nan)
    with FollowReach() as mode:
        mode.begin(images)
        run_with_hooks(network, images, note)
    return found


def _agrees(reached: Tensor, reach: Reach, axis: int) -> bool:
    """Whether a marked row or column reaches at most as many places of maps (1, C, H, W) as arithmetic predicts."""
    size, stride = reach.sizes[axis - 2], reach.strides[axis - 2]
    places = reached.any(5 - axis).any(1)
    return size is None or int(places.sum()) <= math.ceil(size / stride)


def _measure(network: nn.Module, image_shape: tuple[int, ...], layouts: dict[str, Layout | None]) -> dict[str, Field]:
    """Mark each row and each column; in the output of a module without a layout, the order of values has no meaning."""
    sides: list[dict[str, _Side]] = []
    for axis in (2, 3):
        reached: dict[str, list[Tensor]] = {name: [] for name in layouts}
        for places in torch.arange(image_shape[axis - 1]).split(_AT_A_TIME):
            for name, (marks, _) in _marks(network, image_shape, axis, places.tolist(), layouts).items():
                layout = layouts[name]
                if layout is not None:
                    marks = layout.maps(marks).any(1).any(4 - axis)  # (images, places along the axis)
                reached[name].append(marks.flatten(1))
        sides.append({name: _side(torch.cat(marks), layouts[name] is not None) for name, marks in reached.items()})
    fields = {}
    for name in layouts:
        rows, columns = sides[0][name], sides[1][name]
        if rows.size is None or columns.size is None:
            fields[name] = Field(None, 0, known=False)
        elif (rows.size, columns.size) == image_shape[1:]:
            fields[name] = Field(None, rows.stride)
        else:
            fields[name] = Field(max(rows.size, columns.size), max(rows.stride, columns.stride))
    return fields


class _Side(NamedTuple):
    """A receptive field along one axis: its size, None if unknown, and its stride, 0 if unknown."""

    size: int | None
    stride: int = 0


def _side(reached: Tensor, in_a_row: bool) -> _Side:
    """The receptive field that follows from marks.

    Args:
        reached: whether the mark at a pixel reaches a value: bool, (pixels, values).
        in_a_row: whether successive values are neighbors along the axis.
    """
    pixels = len(reached)
    seeing = reached[:, reached.any(0)]
    if not seeing.numel():
        return _Side(0)
    first = seeing.int().argmax(0)
    last = pixels - 1 - seeing.flip(0).int().argmax(0)
    largest = int((last - first).max()) + 1
    if largest == pixels or not in_a_row:
        return _Side(largest)
    # The border of the image cuts windows off. If windows follow each other at a constant stride, one that begins and
    # one that ends within the image give the size even if no window lies within the image as a whole.
    begins, ends = (first > 0).nonzero().flatten(), (last < pixels - 1).nonzero().flatten()
    steps = torch.cat([first[begins].diff(), last[ends].diff()])
    if len(steps) and int(steps.min()) == int(steps.max()) > 0:
        stride = int(steps[0])
        if len(begins) and len(ends):
            return _Side(int(last[ends[0]] - first[begins[0]] + 1 + (begins[0] - ends[0]) * stride), stride)
        return _Side(None, stride)
    inside = bool(((first > 0) & (last < pixels - 1)).any())
    return _Side(largest if inside or len(steps) else None)

"""The layers that an exercise asks for, and the layers of a network in one canonical order."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from cifar_cnn.lab.operations import Sizes
from cifar_cnn.lab.tracing import Operation


class Layer(NamedTuple):
    """A layer that an exercise asks for.

    Attributes:
        kind: as in :class:`cifar_cnn.lab.tracing.Operation`.
        sizes: the sizes that the exercise asks for.
    """

    kind: str
    sizes: Sizes


def conv(c_in: int, c_out: int, kernel: int, stride: int = 1, padding: int = 0) -> Layer:
    """A convolution."""
    pairs = {"kernel": (kernel, kernel), "stride": (stride, stride), "padding": (padding, padding)}
    return Layer("conv", {"in": c_in, "out": c_out, **pairs, "dilation": (1, 1), "groups": 1})


def linear(c_in: int, c_out: int) -> Layer:
    """A fully connected layer."""
    return Layer("linear", {"in": c_in, "out": c_out})


def batch_norm(channels: int) -> Layer:
    """A BatchNorm2d."""
    return Layer("batch_norm", {"channels": channels})


RELU = Layer("relu", {})
POOL = Layer("max_pool", {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0)})
GLOBAL_MAX = Layer("global_max", {})


def features(n1: int, n2: int, first_kernel: int = 3, norm: bool = False) -> list[Layer]:
    """Two convolutions, each with ReLU and max pooling, and with BatchNorm if ``norm``."""

    def stage(c_in: int, c_out: int, kernel: int) -> Iterator[Layer]:
        yield conv(c_in, c_out, kernel)
        if norm:
            yield batch_norm(c_out)
        yield from (RELU, POOL)

    return [*stage(3, n1, first_kernel), *stage(n1, n2, 3)]


def head(c_in: int, n3: int) -> list[Layer]:
    """Two fully connected layers with a ReLU between them."""
    return [linear(c_in, n3), RELU, linear(n3, 10)]


def canonical(operations: Sequence[Operation]) -> list[Operation]:
    """The operations that a network's result depends on, in one of several equivalent orders.

    Operations that only change the shape are left out, as are poolings of a single pixel. Poolings over the whole image
    get their own name. A ReLU that follows max pooling is moved before it, because the two commute. Zeros added around
    the maps before a convolution count as its padding.
    """
    found = [_global(each) for each in operations if each.kind != "reshape" and not _pools_a_pixel(each)]
    found = _with_padding(_merged(found))
    for _ in found:  # each pass moves every ReLU by one place
        for at in range(len(found) - 1):
            if found[at].kind in ("max_pool", "global_max") and found[at + 1].kind == "relu":
                found[at], found[at + 1] = found[at + 1], found[at]
    return [each for at, each in enumerate(found) if not (at and each.kind == found[at - 1].kind == "relu")]


def _pools_a_pixel(operation: Operation) -> bool:
    is_pool = operation.kind in ("max_pool", "avg_pool", "adaptive_max", "adaptive_avg", "max", "mean")
    maps = operation.shape
    return (
        is_pool and len(maps) > 2 and math.prod(maps[2:]) == 1 and math.prod(operation.output_shape) == math.prod(maps)
    )


def _global(operation: Operation) -> Operation:
    """A pooling over the whole image under its own name."""
    maps, left = operation.shape, operation.output_shape
    if len(maps) < 3 or math.prod(left) != math.prod(maps[:2]):
        return operation
    kinds = {"max_pool": "global_max", "adaptive_max": "global_max", "max": "global_max"}
    kinds |= {"avg_pool": "global_avg", "adaptive_avg": "global_avg", "mean": "global_avg"}
    return replace(operation, kind=kinds.get(operation.kind, operation.kind))


def _merged(operations: list[Operation]) -> list[Operation]:
    """Merge a reduction over columns and one over rows into one over the image."""
    found: list[Operation] = []
    for each in operations:
        if found and each.kind in ("global_max", "global_avg"):
            partial = {"global_max": "max", "global_avg": "mean"}[each.kind]
            if found[-1].kind == partial:
                found.pop()
        found.append(each)
    return found


def _with_padding(operations: list[Operation]) -> list[Operation]:
    """Add zeros that a separate operation puts around a convolution's input to its padding."""
    found: list[Operation] = []
    for each in operations:
        if each.kind == "conv" and found and found[-1].kind == "pad":
            outside = found.pop()
            pairs = zip(_pair(outside.sizes["padding"]), _pair(each.sizes["padding"]), strict=True)
            each = replace(each, shape=outside.shape, sizes=each.sizes | {"padding": tuple(a + b for a, b in pairs)})
        found.append(each)
    return found


def _pair(size: int | tuple[int, ...]) -> tuple[int, ...]:
    return (size, size) if isinstance(size, int) else size

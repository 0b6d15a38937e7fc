"""Apply RandAugment and similar transforms to many small images, grouped by operation.

torchvision draws an operation and a magnitude for each image, and on small images most of the time goes into starting
operations. Here, the operations of all images are drawn first, and each one then runs on all its images at once. The
result is the same as for one image at a time.
"""

import copy
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from cifar_cnn.compat import APPLY_OPERATION

_KINDS = (v2.RandAugment, v2.AutoAugment, v2.TrivialAugmentWide)


def in_groups(transform: nn.Module, images: Sequence[Tensor], seeds: Sequence[int]) -> list[Tensor] | None:
    """Apply a transform to images of one shape; None if it cannot be applied to several images at once.

    Args:
        transform: the transform.
        images: uint8, (C, H, W) each.
        seeds: seed of each image for torch's generator.
    """
    if type(transform) not in _KINDS or len({image.shape for image in images}) != 1:
        return None
    drawn = []
    settings: dict[str, Any] = {}  # the arguments that all operations share
    for image, seed in zip(images, seeds, strict=True):
        torch.default_generator.manual_seed(seed)
        if (operations := _drawn(transform, image, settings)) is None:
            return None
        drawn.append(operations)
    pixels = torch.stack(list(images))
    apply: Callable[..., Tensor] = getattr(transform, APPLY_OPERATION)
    for turn in range(max(map(len, drawn))):
        groups = defaultdict(list)
        for row, operations in enumerate(drawn):
            if turn < len(operations):
                groups[operations[turn]].append(row)
        for (name, magnitude), rows in groups.items():
            pixels[rows] = apply(pixels[rows], name, magnitude, **settings)
    return list(pixels)


def _drawn(transform: nn.Module, image: Tensor, settings: dict[str, Any]) -> list[tuple[str, float]] | None:
    """The operations and magnitudes drawn for an image, in order; further arguments are added to ``settings``.

    None if this version of torchvision applies operations in another way.
    """
    operations: list[tuple[str, float]] = []

    def note(image: Tensor, name: str, magnitude: float, **options: Any) -> Tensor:
        operations.append((name, magnitude))
        settings.update(options)
        return image

    listening = copy.copy(transform)
    setattr(listening, APPLY_OPERATION, note)
    return operations if listening(image) is image else None

"""Test-time augmentation: average the logits of several views of an image."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

TTA = Literal["none", "flip", "flip_shift"]


def views(images: Tensor, tta: TTA) -> list[tuple[float, Tensor]]:
    """The views of normalised images (N, C, H, W), each with its weight; the first view is the unchanged batch.

    ``flip`` adds the mirror images. ``flip_shift`` also adds both, with half of the total weight, shifted by one pixel
    up-left and down-right, with reflected borders. Source: Jordan, https://arxiv.org/abs/2404.00498, section 3.5
    (there: "multi-crop").
    """
    if tta == "none":
        return [(1.0, images)]
    plain = [images, images.flip(-1)]
    if tta == "flip":
        return [(1 / 2, view) for view in plain]
    height, width = images.shape[-2:]
    padded = functional.pad(images, (1, 1, 1, 1), "reflect")
    corners = [padded[..., :height, :width], padded[..., 2:, 2:]]
    shifted = [view for corner in corners for view in (corner, corner.flip(-1))]
    return [*((1 / 4, view) for view in plain), *((1 / 8, view) for view in shifted)]


def logits_with_tta(network: Callable[[Tensor], Tensor], images: Tensor, tta: TTA) -> tuple[Tensor, Tensor]:
    """Logits (N, num_classes) averaged over the views, and those of the unchanged images."""
    weighted = [(weight, network(view)) for weight, view in views(images, tta)]
    if len(weighted) == 1:
        return weighted[0][1], weighted[0][1]
    return torch.stack([weight * logits.float() for weight, logits in weighted]).sum(0), weighted[0][1]

"""Test-time augmentation: average the logits of several views of an image."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from cifar_cnn.base.confidence import least_confident

TTA = Literal["none", "flip", "flip_shift"]


def views(images: Tensor, tta: TTA) -> list[tuple[float, Tensor]]:
    """The views of normalized images (N, C, H, W), each with its weight; the first view is the unchanged batch.

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


def logits_with_tta(
    network: Callable[[Tensor], Tensor], images: Tensor, tta: TTA, fraction: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Logits (N, num_classes) averaged over the views, and those of the unchanged images.

    Args:
        network: from images to logits.
        images: (N, C, H, W), normalized.
        tta: see :func:`views`.
        fraction: fraction of the images, the least confident ones, whose logits are averaged over the views. The others
            keep the logits of the unchanged image. Source: hiverge/cifar10-speedrun (2025).
    """
    plain = network(images)
    if tta == "none":
        return plain, plain
    if fraction < 1:
        rows = least_confident(plain, fraction)
        return plain.float().index_copy(0, rows, _averaged(network, images[rows], plain[rows], tta)), plain
    return _averaged(network, images, plain, tta), plain


def _averaged(network: Callable[[Tensor], Tensor], images: Tensor, plain: Tensor, tta: TTA) -> Tensor:
    """The weighted mean of the logits of all views; ``plain`` are those of the first."""
    (first, _), *others = views(images, tta)
    weighted = [first * plain.float(), *(weight * network(view).float() for weight, view in others)]
    return torch.stack(weighted).sum(0)

"""A figure of images with their classes, as stored or as training sees them."""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cifar_cnn.data.augment import Augment, denormalize, draw, normalize
from cifar_cnn.data.images import random_order

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cifar_cnn.data.images import ImageSet
    from cifar_cnn.data.sources.base import ChannelStats

COLUMNS = 8


def show_images(image_set: "ImageSet", n: int) -> "Figure":
    """Draw a seeded random sample of ``n`` images with their classes, the same at each call."""
    sample = random_order(len(image_set))[:n]
    return _draw_sample(image_set, sample, image_set.images[sample].cpu())


def show_augmented(image_set: "ImageSet", n: int, augment: Augment, mean_std: "ChannelStats") -> "Figure":
    """Draw the images of :func:`show_images` as a training step sees them, with normalisation undone."""
    sample = random_order(len(image_set))[:n]
    draws = draw(len(sample), torch.Generator().manual_seed(0))
    pixels = augment.pixels(image_set.images[sample].cpu(), draws)
    seen = augment.values(normalize(pixels, *mean_std), draws)
    return _draw_sample(image_set, sample, denormalize(seen, *mean_std))


def _draw_sample(image_set: "ImageSet", sample: Tensor, images: Tensor) -> "Figure":
    return draw_images(images, [image_set.class_names[label] for label in image_set.labels[sample].tolist()])


def draw_images(images: Tensor, titles: list[str]) -> "Figure":
    """Draw images in rows of eight.

    Args:
        images: uint8, (N, C, H, W), with 1 or 3 channels.
        titles: one above each image.
    """
    from cifar_cnn.figures import PlainFigure  # matplotlib takes half a second to import

    rows = max(1, math.ceil(len(images) / COLUMNS))
    figure = PlainFigure(figsize=(1.25 * COLUMNS, 1.5 * rows), dpi=100, layout="constrained")
    for axes in (grid := figure.subplots(rows, COLUMNS, squeeze=False)).flat:
        axes.axis("off")
    for axes, image, title in zip(grid.flat, images, titles, strict=False):
        axes.imshow(image.permute(1, 2, 0).squeeze(-1), cmap="gray", vmin=0, vmax=255)
        axes.set_title(title if len(title) <= 16 else f"{title[:15]}…", fontsize=8)
    return figure

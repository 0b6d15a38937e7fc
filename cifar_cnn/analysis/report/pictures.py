"""Pictures of single images, for several sections."""

import numpy as np
from PIL import Image
from torch import Tensor

from cifar_cnn.analysis import charts
from cifar_cnn.base.visible import visible
from cifar_cnn.data import ImageSet


def thumbnail(image: Tensor, side: int = 96) -> str:
    """A uint8 image (C, H, W) as the src of an <img>; larger ones are scaled down to ``side`` pixels."""
    pixels = visible(image).permute(1, 2, 0).contiguous().numpy()
    if max(pixels.shape[:2]) > side:
        pixels = np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BOX))
    return charts.picture(pixels)


def one_of_each_class(images: ImageSet, most: int) -> list[int]:
    """The first image of each of up to ``most`` classes."""
    found = [(images.labels == label).nonzero() for label in range(len(images.class_names))]
    return [int(places[0]) for places in found if len(places)][:most]

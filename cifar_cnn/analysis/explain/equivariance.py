"""Equivariance to translation: whether the feature maps of a shifted image are the shifted feature maps."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cifar_cnn.analysis import charts
from cifar_cnn.analysis.explain.shifts import shift, shifted_maps, shifts_of
from cifar_cnn.analysis.network.layers import Layer
from cifar_cnn.analysis.network.maps import outputs_of
from cifar_cnn.analysis.shown import normalized
from cifar_cnn.runs.checkpoints import Trained


@dataclass(frozen=True)
class Equivariance:
    """The difference between the feature maps of a shifted image and the shifted feature maps of the image.

    Attributes:
        layers: the layers that were measured.
        errors: for each layer the relative error at each shift of 0 to MAX_SHIFT pixels: the norm of the difference
            divided by the norm of the shifted maps, where both have values; NaN if the maps are too small to be
            shifted.
        examples: for each layer and shift, the shifted map and the map of the shifted image, both (H, W), of the first
            image and of its channel with the largest variance.
        example: the first image: uint8, (C, H, W).
        images: number of images, measured together.
    """

    layers: list[Layer]
    errors: list[list[float]]
    examples: list[list[tuple[Tensor, Tensor]]]
    example: Tensor
    images: int


def measure_equivariance(trained: Trained, images: Tensor, layers: list[Layer]) -> Equivariance:
    """Shift images to the right and compare the feature maps of the layers.

    Args:
        trained: the network.
        images: uint8, (N, C, H, W).
        layers: layers of the network whose outputs are maps.
    """
    plain = _maps(trained, images, layers)
    errors: list[list[float]] = [[] for _ in layers]
    examples: list[list[tuple[Tensor, Tensor]]] = [[] for _ in layers]
    channels = [maps[0].std((1, 2)).argmax() for maps in plain]
    for pixels in shifts_of(images):
        moved = _maps(trained, shift(images, pixels, (0, 1)), layers)
        for index, layer in enumerate(layers):
            expected, actual = shifted_maps(plain[index], pixels / layer.field.stride), moved[index]
            lost = actual.shape[-1] - expected.shape[-1]
            norm = expected.norm().item()
            errors[index].append((actual[..., lost:] - expected).norm().item() / norm if norm else math.nan)
            blank = torch.full_like(actual[0, 0], math.nan)
            blank[:, lost:] = expected[0, channels[index]]
            examples[index].append((blank.cpu(), actual[0, channels[index]].cpu()))
    return Equivariance(layers, errors, examples, images[0], len(images))


@torch.inference_mode()
def _maps(trained: Trained, images: Tensor, layers: list[Layer]) -> list[Tensor]:
    with outputs_of(trained.classifier.backbone, [layer.name for layer in layers]) as outputs:
        trained.classifier(normalized(trained, images))
    return [layer.layout.maps(outputs[layer.name]).float() for layer in layers if layer.layout is not None]


def example_pictures(expected: Tensor, actual: Tensor) -> list[np.ndarray]:
    """Color a shifted map, the map of the shifted image and their difference: uint8 RGBA, (H, W, 4) each."""
    low, high = actual.min().item(), actual.max().item()
    reach = (high - low) / 2  # a difference of half the range gets the full red or blue
    pictures = [charts.colored(each.numpy(), low, high) for each in (expected, actual)]
    pictures.append(charts.colored((actual - expected).nan_to_num().numpy(), -reach, reach, "RdBu_r"))
    opaque = np.full((*actual.shape, 1), 255, np.uint8)
    partly = opaque * ~expected.isnan().numpy()[..., None]
    return [np.concatenate(each, 2) for each in zip(pictures, (partly, opaque, partly), strict=True)]

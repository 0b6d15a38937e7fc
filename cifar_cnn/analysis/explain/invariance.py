"""Invariance to translation: how much features and predictions change when an image is shifted."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cifar_cnn.analysis.explain.shifts import shift, shifts_of
from cifar_cnn.analysis.network.layers import Layer
from cifar_cnn.analysis.network.layouts import Layout
from cifar_cnn.analysis.network.maps import outputs_of
from cifar_cnn.analysis.shown import normalized
from cifar_cnn.data import ImageSet
from cifar_cnn.runs.checkpoints import Trained

POOLINGS = {"flatten": "flatten", "max_pool": "max-pool", "average": "average"}
_BATCH = 250  # images in a forward pass
_DIRECTIONS = ((0, 1), (1, 0), (0, -1), (-1, 0))


@dataclass(frozen=True)
class Invariance:
    """The effect of shifting images by 0 to MAX_SHIFT pixels, each image in one of four directions.

    Attributes:
        features: for each pooling (the keys of POOLINGS, and ``head`` for the output of the network's own head), the
            change of the features at each shift, as a fraction of the change from an image to an unrelated one.
        head: name of the module that pools in the network.
        same_class: fraction of the images with the same predicted class as the unshifted image, at each shift.
        accuracy: accuracy at each shift.
        images: number of images.
    """

    features: dict[str, list[float]]
    head: str
    same_class: list[float]
    accuracy: list[float]
    images: int


def measure_invariance(trained: Trained, image_set: ImageSet, layers: list[Layer]) -> Invariance:
    """Shift each image up, down, left or right, in turn, and compare features and predictions.

    Args:
        trained: the network.
        image_set: the images.
        layers: all layers of the network.
    """
    last, layout = max((index, layer.layout) for index, layer in enumerate(layers) if layer.layout is not None)
    head = layers[min(last + 1, len(layers) - 1)]
    images, labels = image_set.images, image_set.labels
    plain: dict[str, Tensor] = {}
    unrelated: dict[str, float] = {}
    changes: dict[str, list[float]] = {}
    classes = []
    for pixels in shifts_of(images):
        features, logits = _observe(trained, _shifted(images, pixels), layers[last].name, layout, head.name)
        if not pixels:
            plain = features
            # Image folders are sorted by class, so an image half the set away usually has another class.
            unrelated = {name: _distance(each, each.roll(max(len(each) // 2, 1), 0)) for name, each in plain.items()}
        for name, each in features.items():
            change = _distance(each, plain[name]) / unrelated[name] if unrelated[name] else math.nan
            changes.setdefault(name, []).append(change)
        classes.append(logits.argmax(1))
    same_class = [(each == classes[0]).float().mean().item() for each in classes]
    accuracy = [(each == labels).float().mean().item() for each in classes]
    return Invariance(changes, head.name, same_class, accuracy, len(labels))


def _shifted(images: Tensor, pixels: int) -> Tensor:
    """Images (N, C, H, W), the first shifted to the right, the next down, left, up, and so on."""
    moved = torch.empty_like(images)
    for turn, direction in enumerate(_DIRECTIONS):
        moved[turn::4] = shift(images[turn::4], pixels, direction)
    return moved


@torch.inference_mode()
def _observe(
    trained: Trained, images: Tensor, last: str, layout: Layout, head: str
) -> tuple[dict[str, Tensor], Tensor]:
    """The pooled features of images by pooling, and the logits.

    Args:
        trained: the network.
        images: uint8, (N, C, H, W).
        last: name of the module with the last maps.
        layout: layout of its output.
        head: name of the module that follows it.
    """
    collected: dict[str, list[Tensor]] = {}
    logits = []
    with outputs_of(trained.classifier.backbone, [last, head]) as outputs:
        for batch in images.split(_BATCH):
            logits.append(trained.classifier(normalized(trained, batch)).cpu())
            maps = layout.maps(outputs[last])
            features = {
                "flatten": maps.flatten(1),
                "max_pool": maps.amax((2, 3)),
                "average": maps.mean((2, 3)),
                "head": outputs[head].flatten(1),
            }
            for name, values in features.items():
                collected.setdefault(name, []).append(values.float().cpu())
    return {name: torch.cat(parts) for name, parts in collected.items()}, torch.cat(logits)


def _distance(a: Tensor, b: Tensor) -> float:
    """The mean Euclidean distance between the rows of two tensors, (N, features)."""
    return (a - b).norm(dim=1).mean().item()

"""Section: Grad-CAM of correct predictions and of the most confident mistakes."""

from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from cifar_cnn.analysis import charts
from cifar_cnn.analysis.network.maps import grad_cam, last_maps
from cifar_cnn.analysis.report.material import Material, Section
from cifar_cnn.analysis.report.pictures import one_of_each_class, thumbnail
from cifar_cnn.analysis.shown import normalized
from cifar_cnn.base.errors import InputError
from cifar_cnn.base.visible import visible
from cifar_cnn.data import ImageSet
from cifar_cnn.runs.predictions import Predictions

EACH = 6  # correct predictions, and mistakes, at most


def content(material: Material) -> dict[str, Any] | None:
    """Grad-CAM of the predicted class, at the last feature maps.

    Raises:
        InputError: the network has no feature maps.
    """
    images, predictions, network = material.images, material.predictions, material.network
    if images is None or predictions is None:
        return None
    trained = material.run.trained
    last = last_maps(network, normalized(trained, images.images[:1]), len(images.class_names))
    if last is None:
        raise InputError(f"{type(network).__name__} has no feature maps that its output depends on")
    places = _chosen(images, predictions)
    pixels = normalized(trained, images.images[places])
    heat = grad_cam(network, last.name, pixels, predictions.classes[places].to(pixels.device), last.layout)
    found = [
        {
            "src": thumbnail(images.images[place]),
            "heat": _overlay(images.images[place], each),
            "predicted": images.class_names[predictions.classes[place]],
            "true": images.class_names[images.labels[place]],
            "right": bool(predictions.classes[place] == predictions.labels[place]),
        }
        for place, each in zip(places, heat.cpu().numpy(), strict=True)
    ]
    return {"layer": last.name, "images": found}


SECTION = Section("cam", "Grad-CAM", "Grad-CAM", content)


def _chosen(images: ImageSet, predictions: Predictions) -> list[int]:
    """One correctly predicted image of each of the first classes, then the most confident mistakes."""
    right = predictions.classes == predictions.labels
    confidence = predictions.probabilities.amax(1)
    places = [place for place in one_of_each_class(images, len(images.class_names)) if right[place]][:EACH]
    wrong = confidence.masked_fill(right, -1).argsort(descending=True, stable=True)[:EACH].tolist()
    return places + [place for place in wrong if not right[place]]


def _overlay(image: Tensor, heat: np.ndarray) -> str:
    """A picture of an image, uint8 (C, H, W), half covered by heat, (H, W)."""
    factor = max(1, 96 // image.shape[-1])
    shown = visible(image).permute(1, 2, 0).numpy().repeat(factor, 0).repeat(factor, 1)
    size = (shown.shape[1], shown.shape[0])
    large = np.asarray(Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
    overlay = 0.5 * shown + 0.5 * charts.colored(large, 0, 1, "turbo")
    return charts.picture(overlay.round().astype(np.uint8))

"""Section: the wrong predictions with the highest confidence."""

from typing import Any

from cifar_cnn.analysis.report.material import Material, Section
from cifar_cnn.analysis.report.pictures import thumbnail
from cifar_cnn.data import ImageSet
from cifar_cnn.runs.predictions import Predictions

MISTAKES = 24  # shown at most


def content(material: Material) -> list[dict[str, Any]] | None:
    """See :func:`mistakes`."""
    if material.predictions is None or material.images is None:
        return None
    return mistakes(material.predictions, material.images, material.class_names)


SECTION = Section("mistakes", "Mistakes", "Mistakes", content)


def mistakes(predictions: Predictions, images: ImageSet, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """The wrong predictions in descending order of confidence, with a picture of each image."""
    probabilities = predictions.probabilities
    confidence = probabilities.amax(1).masked_fill(predictions.classes == predictions.labels, -1)
    surest = confidence.argsort(descending=True, stable=True)[:MISTAKES].tolist()
    return [
        {
            "src": thumbnail(images.images[i]),
            "true": names[images.labels[i]],
            "predicted": names[predictions.classes[i]],
            "confidence": confidence[i].item(),
            "of_true": probabilities[i, images.labels[i]].item(),
        }
        for i in surest
        if confidence[i] >= 0
    ]

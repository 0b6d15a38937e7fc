"""Section: the confusion matrix and the figures of each class."""

from typing import Any

import numpy as np

from cifar_cnn.analysis.report.material import Material, Section
from cifar_cnn.callbacks.confusion_figure import confusion_counts, worst_confusions
from cifar_cnn.runs.predictions import Predictions

TABLE_CLASSES = 20  # a larger confusion matrix is unreadable
PAIRS = 8  # most frequent confusions listed beside the matrix
MANY_PAIRS = 30  # most frequent confusions listed instead of the matrix


def content(material: Material) -> dict[str, Any] | None:
    """See :func:`confusion`."""
    return confusion(material.predictions, material.class_names) if material.predictions else None


SECTION = Section("classes", "Classes", "Confusion", content)


def confusion(predictions: Predictions, names: tuple[str, ...]) -> dict[str, Any]:
    """The confusion matrix, the most frequent confusions, and precision, recall and F1 of each class.

    None stands for undefined values: all figures of a class without images, and the precision of a class that was never
    predicted.
    """
    matrix = confusion_counts(predictions, len(names))
    images = matrix.sum(1)
    few = len(names) <= TABLE_CLASSES
    return {
        "matrix": matrix.tolist() if few else None,
        "shares": (matrix / images.clip(1)[:, None]).tolist() if few else None,
        "names": names,
        "rows": _rows(matrix, names),
        "pairs": [
            (names[i], names[j], int(matrix[i, j]), matrix[i, j] / images[i])
            for i, j in worst_confusions(matrix, PAIRS if few else MANY_PAIRS)
        ],
    }


def _rows(matrix: np.ndarray, names: tuple[str, ...]) -> list[dict[str, Any]]:
    right, true, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    f1 = 2 * right / (true + predicted).clip(1)
    wrong = matrix - np.diag(right)
    return [
        {
            "name": name,
            "images": int(true[i]),
            "recall": right[i] / true[i] if true[i] else None,
            "precision": right[i] / predicted[i] if true[i] and predicted[i] else None,
            "f1": f1[i] if true[i] else None,
            "mistaken": names[wrong[i].argmax()] if wrong[i].any() else "",
            "times": int(wrong[i].max()),
        }
        for i, name in enumerate(names)
    ]

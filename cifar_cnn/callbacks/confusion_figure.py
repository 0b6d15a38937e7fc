"""Draw the confusions of a network: a matrix for few classes, the most frequent confusions for many."""

from typing import TYPE_CHECKING

import numpy as np
from torchmetrics.functional.classification import multiclass_confusion_matrix

from cifar_cnn.runs.predictions import Predictions

if TYPE_CHECKING:  # importing matplotlib takes several hundred milliseconds
    from matplotlib.axes import Axes

    from cifar_cnn.base.figures import PlainFigure

MATRIX_CLASSES = 30  # a larger matrix is unreadable
NUMBERED_CLASSES = 20  # in a larger matrix the cells are too small for numbers
WORST = 30  # confusions shown instead of a matrix


def confusion_counts(predictions: Predictions, num_classes: int) -> np.ndarray:
    """The number of images by true class (row) and predicted class (column): int64, (classes, classes)."""
    return multiclass_confusion_matrix(predictions.classes, predictions.labels, num_classes).numpy()


def worst_confusions(counts: np.ndarray, most: int) -> list[tuple[int, int]]:
    """The most frequent confusions as pairs of true and predicted class, in descending order.

    Args:
        counts: (classes, classes), as :func:`confusion_counts` returns them.
        most: maximum number of pairs; pairs that were never confused are left out.
    """
    wrong = counts * ~np.eye(len(counts), dtype=bool)
    places = np.flatnonzero(wrong)
    worst = places[np.argsort(-wrong.flat[places], kind="stable")[:most]]
    return [(int(place) // len(counts), int(place) % len(counts)) for place in worst]


def draw_confusion(counts: np.ndarray, class_names: tuple[str, ...]) -> "PlainFigure":
    """Draw a confusion matrix, or the worst confusions if there are more than MATRIX_CLASSES classes.

    Args:
        counts: (classes, classes), as :func:`confusion_counts` returns them.
        class_names: names of the classes, in the order of the rows.
    """
    from cifar_cnn.base.figures import PlainFigure

    labels = [name if len(name) <= 20 else f"{name[:19]}…" for name in class_names]
    matrix = len(class_names) <= MATRIX_CLASSES
    side = max(4.0, 0.45 * len(class_names) + 1.5) if matrix else 8.0  # inches
    figure = PlainFigure(figsize=(side, side), dpi=100, layout="constrained")
    if matrix:
        _draw_matrix(figure.add_subplot(), counts, labels)
    else:
        _draw_worst(figure.add_subplot(), counts, labels)
    return figure


def _draw_matrix(axes: "Axes", counts: np.ndarray, labels: list[str]) -> None:
    shares = counts / counts.sum(1, keepdims=True).clip(1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    true = [label if row.any() else f"{label} (no images)" for label, row in zip(labels, counts, strict=True)]
    axes.set_xticks(range(len(labels)), labels, rotation=90)
    axes.set_yticks(range(len(labels)), true)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if len(labels) <= NUMBERED_CLASSES:
        for row, column in np.ndindex(*counts.shape):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=color, fontsize=7)


def _draw_worst(axes: "Axes", counts: np.ndarray, labels: list[str]) -> None:
    """Draw a bar for each of the most frequent confusions: its share of the images of the true class."""
    pairs = worst_confusions(counts, WORST)
    images = counts.sum(1)
    shares = [100 * counts[pair] / images[pair[0]] for pair in pairs]
    bars = axes.barh(range(len(pairs)), shares, color="tab:blue")
    axes.bar_label(bars, [f"{counts[pair]} of {images[pair[0]]}" for pair in pairs], padding=3, fontsize=8)
    axes.set_yticks(range(len(pairs)), [f"{labels[true]} → {labels[said]}" for true, said in pairs], fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.2, y=0.01)
    axes.set_xlabel("% of the images of the true class")
    wrong, total = int(counts.sum() - counts.trace()), int(counts.sum())
    amount = f"The {len(pairs)} most frequent confusions" if pairs else "No confusions"
    axes.set_title(f"{amount}, true → predicted\n{len(labels):,} classes; {wrong:,} of {total:,} images wrong")
    axes.spines[["top", "right"]].set_visible(False)

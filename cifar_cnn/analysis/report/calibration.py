"""Section: how well confidence and accuracy agree."""

from typing import Any

from cifar_cnn.analysis import charts
from cifar_cnn.analysis.calibration import bins_of
from cifar_cnn.analysis.report.material import Material, Section
from cifar_cnn.runs.predictions import Predictions

BINS = 15  # as in Guo et al. (2017)


def content(material: Material) -> dict[str, Any] | None:
    """See :func:`calibration`."""
    return calibration(material.predictions) if material.predictions else None


SECTION = Section("calibration", "Calibration", "Calibration", content)


def calibration(predictions: Predictions) -> dict[str, Any]:
    """The reliability diagram and the expected calibration error (ECE)."""
    confidence = predictions.probabilities.amax(1).numpy()
    correct = (predictions.classes == predictions.labels).numpy()
    bins = bins_of(confidence, correct, BINS)
    return {
        "chart": charts.svg(charts.reliability(bins), "Accuracy over confidence"),
        "ece": bins.error,
        "confidence": float(confidence.mean()),
        "accuracy": float(correct.mean()),
        "bins": BINS,
    }

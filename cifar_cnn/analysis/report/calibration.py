"""Section: how well confidence and accuracy agree."""

from typing import Any

from cifar_cnn.analysis import charts
from cifar_cnn.analysis.calibration import bins_of
from cifar_cnn.analysis.report.material import Material, Section
from cifar_cnn.analysis.temperature import BINS
from cifar_cnn.runs.checksum import checksum
from cifar_cnn.runs.predictions import Predictions
from cifar_cnn.runs.schemas import read_calibration


def content(material: Material) -> dict[str, Any] | None:
    """See :func:`calibration`."""
    if material.predictions is None:
        return None
    result = read_calibration(material.run.folder)
    is_current = bool(result) and result["checkpoint_checksum"] == checksum(material.run.checkpoint)
    return {**calibration(material.predictions), "scaled": result if is_current else None}


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

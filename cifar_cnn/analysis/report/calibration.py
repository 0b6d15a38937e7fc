"""Section: how well confidence and accuracy agree."""

from typing import Any

from cifar_cnn.analysis import charts
from cifar_cnn.analysis.report.material import Material, Section
from cifar_cnn.base.probability_scores import BINS, mean_bins, score_sums, scores
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
    """The reliability diagram and the scores of the probabilities."""
    sums, bins = score_sums(predictions.logits.double(), predictions.labels)
    found = {name: value.item() for name, value in scores(sums, bins).items()}
    return found | {
        "chart": charts.svg(charts.reliability(mean_bins(bins)), "Accuracy over confidence"),
        "confidence": predictions.probabilities.amax(1).mean().item(),
        "accuracy": (predictions.classes == predictions.labels).double().mean().item(),
        "bins": BINS,
    }

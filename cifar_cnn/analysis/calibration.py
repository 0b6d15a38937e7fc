"""Calibration: the bins of a reliability diagram and the expected calibration error."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Bins:
    """Predictions grouped by confidence in bins of equal width from 0 to 1; the last bin includes 1.

    Attributes:
        counts: number of predictions in each bin, (bins,).
        accuracy: accuracy of each bin; 0 for an empty bin.
        confidence: mean confidence of each bin; 0 for an empty bin.
    """

    counts: np.ndarray
    accuracy: np.ndarray
    confidence: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error (ECE): the mean distance between accuracy and confidence, weighted by counts.

        Guo et al., On Calibration of Modern Neural Networks (2017), https://arxiv.org/abs/1706.04599.
        """
        return float((self.counts * np.abs(self.accuracy - self.confidence)).sum() / self.counts.sum())


def bins_of(confidence: np.ndarray, correct: np.ndarray, bins: int) -> Bins:
    """Group predictions by confidence.

    torchmetrics' ``multiclass_calibration_error`` (1.9) is not used because it puts a confidence of exactly 1 into a
    bin of its own.

    Args:
        confidence: probability of the predicted class, (N,).
        correct: whether the prediction is correct, (N,).
        bins: number of bins.
    """
    place = (confidence * bins).astype(int).clip(0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    accuracy = np.bincount(place, correct, minlength=bins) / counts.clip(1)
    return Bins(counts, accuracy, np.bincount(place, confidence, minlength=bins) / counts.clip(1))

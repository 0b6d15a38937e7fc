"""How well confidence and accuracy agree: the bins of a reliability diagram, and the error that follows from them."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Bins:
    """Answers by their confidence, in bins of equal width from 0 to 1; a confidence of 1 belongs to the last.

    Attributes:
        counts: answers in each bin, (bins,).
        accuracy: share of them that is right; 0 for an empty bin.
        confidence: their mean; 0 for an empty bin.
    """

    counts: np.ndarray
    accuracy: np.ndarray
    confidence: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error (ECE): the mean distance of accuracy and confidence, weighted by the counts.

        Guo et al., On Calibration of Modern Neural Networks (2017), https://arxiv.org/abs/1706.04599.
        """
        return float((self.counts * np.abs(self.accuracy - self.confidence)).sum() / self.counts.sum())


def bins_of(confidence: np.ndarray, correct: np.ndarray, bins: int) -> Bins:
    """Sort answers into bins.

    torchmetrics' ``multiclass_calibration_error`` (1.9) puts a confidence of exactly 1 into a bin of its own.

    Args:
        confidence: probability of the predicted class, (N,).
        correct: whether it was right, (N,).
        bins: how many.
    """
    place = (confidence * bins).astype(int).clip(0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    accuracy = np.bincount(place, correct, minlength=bins) / counts.clip(1)
    return Bins(counts, accuracy, np.bincount(place, confidence, minlength=bins) / counts.clip(1))

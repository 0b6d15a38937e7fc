"""Scores of predicted probabilities: negative log-likelihood, Brier score and expected calibration error."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cifar_cnn.base.means import Sums

BINS = 15  # as in Guo et al. (2017)


@dataclass(frozen=True)
class Bins:
    """Predictions grouped by confidence in bins of equal width from 0 to 1; the last bin includes 1.

    Attributes:
        counts: number of predictions in each bin, (bins,).
        accuracy: accuracy of each bin; 0 for an empty bin.
        confidence: mean confidence of each bin; 0 for an empty bin.
    """

    counts: Tensor
    accuracy: Tensor
    confidence: Tensor

    @property
    def error(self) -> Tensor:
        """Expected calibration error (ECE): the mean distance between accuracy and confidence, weighted by counts.

        Guo et al., On Calibration of Modern Neural Networks (2017), https://arxiv.org/abs/1706.04599.
        """
        return (self.counts * (self.accuracy - self.confidence).abs()).sum() / self.counts.sum()


class ProbabilityScores(Sums):
    """Scores of the probabilities over the images of a test: the lower, the better.

    ``nll``: negative log-likelihood; ``brier``: sum over the classes of the squared differences between probabilities
    and truth (from 0 to 2), averaged over the images; ``ece``: expected calibration error in 15 bins.

    torchmetrics' ``MulticlassCalibrationError`` (1.9) is not used because it puts a confidence of exactly 1 into a bin
    of its own and keeps the confidence of each image.
    """

    sums: Tensor
    bins: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(2), dist_reduce_fx="sum")  # of nll and brier
        self.add_state("bins", torch.zeros(3, BINS), dist_reduce_fx="sum")  # see sums_of_bins

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Update with logits (N, num_classes) and class indices (N,)."""
        sums, bins = score_sums(preds.float(), target)
        self.sums += sums
        self.bins += bins

    def compute(self) -> dict[str, Tensor]:
        """The scores by name; NaN before the first batch."""
        return scores(self.sums, self.bins)


def score_sums(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """What :func:`scores` needs, summed over images.

    Args:
        logits: (N, num_classes).
        labels: int64, (N,).

    Returns:
        The sums of nll and brier, (2,), and :func:`sums_of_bins`, both in the dtype of the logits.
    """
    logarithms = logits.log_softmax(1)
    probabilities = logarithms.exp()
    distances = (probabilities - functional.one_hot(labels, logits.shape[1])) ** 2
    confidence, classes = probabilities.max(1)
    sums = torch.stack([functional.nll_loss(logarithms, labels, reduction="sum"), distances.sum()])
    return sums, sums_of_bins(confidence, classes == labels)


def scores(sums: Tensor, bins: Tensor) -> dict[str, Tensor]:
    """The scores of :class:`ProbabilityScores` by name, from :func:`score_sums` added over all batches."""
    nll, brier = sums / bins[0].sum()
    return {"nll": nll, "brier": brier, "ece": mean_bins(bins).error}


def sums_of_bins(confidence: Tensor, correct: Tensor, bins: int = BINS) -> Tensor:
    """Group predictions by confidence.

    Args:
        confidence: probability of the predicted class, (N,).
        correct: whether the prediction is correct, bool, (N,).
        bins: number of bins.

    Returns:
        In each bin: the number of predictions, the number of correct ones, and the sum of confidences: (3, bins).
    """
    place = (confidence * bins).long().clamp(0, bins - 1)
    values = torch.stack([torch.ones_like(confidence), correct.to(confidence.dtype), confidence])
    # No index_add_, whose order of addition varies on a GPU, and no matrix product, which may use TF32.
    return (values[:, :, None] * functional.one_hot(place, bins)).sum(1)


def mean_bins(sums: Tensor) -> Bins:
    """The bins of a reliability diagram, from :func:`sums_of_bins` added over all batches."""
    counts, correct, confidence = sums
    return Bins(counts, correct / counts.clamp(min=1), confidence / counts.clamp(min=1))

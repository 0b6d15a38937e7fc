"""Metrics over the images of an epoch."""

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from cifar_cnn.base.means import MeanLoss
from cifar_cnn.base.probability_scores import ProbabilityScores


def eval_metrics(prefix: str, num_classes: int, **more: Metric) -> MetricCollection:
    """Loss, accuracy, top-5 accuracy and any additional metrics."""
    # validate_args reads the values of each batch, which forces a GPU to synchronize. Compute groups would merge
    # metrics with the same counts after one batch, which can happen to top-1 and top-5 accuracy.
    named: dict[str, Metric | MetricCollection] = {
        "loss": MeanLoss(),
        "accuracy": MulticlassAccuracy(num_classes, average="micro", validate_args=False),
        "accuracy_top5": MulticlassAccuracy(num_classes, min(5, num_classes), "micro", validate_args=False),
        **more,
    }
    return MetricCollection(named, prefix=prefix, compute_groups=False)


def test_metrics(prefix: str, num_classes: int, with_tta: bool) -> MetricCollection:
    """:func:`eval_metrics`, confusion matrix, scores and, with test-time augmentation, the accuracy without it."""
    matrix = MulticlassConfusionMatrix(num_classes, validate_args=False)
    metrics = eval_metrics(prefix, num_classes, confusion_matrix=matrix, scores=ProbabilityScores())
    if with_tta:
        metrics.add_metrics({"accuracy_without_tta": PlainAccuracy(num_classes)})
    return metrics


def in_float32(logits: Tensor) -> Tensor:
    """Convert half-precision logits to float32, so that the loss is computed in float32; return others unchanged."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def accuracy_per_class(confusion_matrix: Tensor) -> Tensor:
    """Accuracy of each class, (C,), from a confusion matrix (C, C) with true classes in rows; NaN without images."""
    return confusion_matrix.diagonal().float() / confusion_matrix.sum(1).float()


class PlainAccuracy(MulticlassAccuracy):
    """Accuracy without test-time augmentation."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, average="micro", validate_args=False)

    def update(self, plain_preds: Tensor, target: Tensor) -> None:
        """Update with logits (N, num_classes) and class indices (N,)."""
        super().update(plain_preds, target)

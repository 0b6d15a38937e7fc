"""Metrics of an epoch: loss and accuracy over all its images."""

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from cifar_cnn.means import MeanLoss


def eval_metrics(prefix: str, num_classes: int, **more: Metric) -> MetricCollection:
    """Loss, accuracy and top-5 accuracy over all images, and ``more`` metrics."""
    # validate_args reads the values of every batch, which makes a GPU wait. Compute groups would merge metrics whose
    # counts are equal after one batch, as top-1 and top-5 can be.
    named: dict[str, Metric | MetricCollection] = {
        "loss": MeanLoss(),
        "accuracy": MulticlassAccuracy(num_classes, average="micro", validate_args=False),
        "accuracy_top5": MulticlassAccuracy(num_classes, min(5, num_classes), "micro", validate_args=False),
        **more,
    }
    return MetricCollection(named, prefix=prefix, compute_groups=False)


def test_metrics(prefix: str, num_classes: int, with_tta: bool) -> MetricCollection:
    """:func:`eval_metrics`, the confusion matrix and, with test-time augmentation, the accuracy without it."""
    matrix = MulticlassConfusionMatrix(num_classes, validate_args=False)
    metrics = eval_metrics(prefix, num_classes, confusion_matrix=matrix)
    if with_tta:
        metrics.add_metrics({"accuracy_without_tta": PlainAccuracy(num_classes)})
    return metrics


def in_float32(logits: Tensor) -> Tensor:
    """Logits in half precision as float32, others unchanged; the loss then has that precision too."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def accuracy_per_class(confusion_matrix: Tensor) -> Tensor:
    """Fraction of each class's images that were classified correctly: (classes,); NaN for a class without images.

    Args:
        confusion_matrix: (classes, classes): number of images by true class (row) and predicted class (column).
    """
    return confusion_matrix.diagonal().float() / confusion_matrix.sum(1).float()


class PlainAccuracy(MulticlassAccuracy):
    """Accuracy without test-time augmentation."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, average="micro", validate_args=False)

    def update(self, plain_preds: Tensor, target: Tensor) -> None:
        """Count a batch of logits (N, num_classes) and classes (N,)."""
        super().update(plain_preds, target)

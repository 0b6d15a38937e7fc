"""Metrics of an epoch: loss and accuracy over all its images."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix


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


class _Sums(Metric):
    """A metric of sums that stay in float32 even if the network is in half precision, whose largest value is 65,504."""

    full_state_update = False

    # torch 2.14 and torchmetrics 1.9 have no public hook for Module.to(dtype), which Lightning calls for 16-true.
    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> nn.Module:
        return super()._apply(lambda tensor: tensor.to(fn(tensor).device), exclude_state)


class MeanLoss(_Sums):
    """Mean of batch means, each weighted by the images in its batch.

    torchmetrics' MeanMetric either looks for NaN in every batch, which makes a GPU wait, or
    (``nan_strategy="disable"``, torchmetrics 1.9) ignores the weights. Here a NaN stays visible in the mean.
    """

    sum: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sum", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, value: Tensor, weight: int) -> None:
        """Count a batch of ``weight`` images whose mean loss is ``value``, a scalar."""
        self.sum += value.float() * weight
        self.count += weight

    def compute(self) -> Tensor:
        """The mean; NaN before the first batch."""
        return self.sum / self.count


class PlainAccuracy(MulticlassAccuracy):
    """Accuracy without test-time augmentation."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, average="micro", validate_args=False)

    def update(self, plain_preds: Tensor, target: Tensor) -> None:
        """Count a batch of logits (N, num_classes) and classes (N,)."""
        super().update(plain_preds, target)


class TrainMeans(_Sums):
    """Loss and accuracy over an epoch's training batches.

    This is a single metric of values that the step has already computed; a collection of two takes four times as long.
    """

    loss: Tensor
    correct: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("loss", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("correct", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, loss: Tensor, correct: Tensor, count: int) -> None:
        """Count a batch of ``count`` images with its mean loss and number of correct answers, both scalars."""
        self.loss += loss.float() * count
        self.correct += correct
        self.count += count

    def compute(self) -> dict[str, Tensor]:
        """The means by the names they are logged under; empty if no batch was counted, as in a custom step."""
        if not self.count:
            return {}
        return {"train/loss": self.loss / self.count, "train/accuracy": self.correct.float() / self.count}

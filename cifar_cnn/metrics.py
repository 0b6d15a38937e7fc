"""What the figures of an epoch are made of."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy


def in_float32(logits: Tensor) -> Tensor:
    """Logits of a lower precision in float32, others as they are; their loss is then of that precision too."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def accuracy_per_class(confusion_matrix: Tensor) -> Tensor:
    """Share of each class's images that were taken for it, (classes,); NaN for a class without images.

    Args:
        confusion_matrix: (classes, classes): how many images of a class (row) were taken for another (column).
    """
    return confusion_matrix.diagonal().float() / confusion_matrix.sum(1).float()


class _Sums(Metric):
    """A metric of sums, which stay in float32 where the network is in half precision: 65,504 is the most that holds."""

    full_state_update = False

    # For Module.to(dtype), as Lightning calls it for 16-true, torch 2.14 and torchmetrics 1.9 have no public hook.
    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> nn.Module:
        return super()._apply(lambda tensor: tensor.to(fn(tensor).device), exclude_state)


class MeanLoss(_Sums):
    """Mean of batch means, each weighted by the images in its batch.

    In place of torchmetrics' MeanMetric, which either looks for NaN in every batch, so that a GPU has to wait, or
    (``nan_strategy="disable"``, torchmetrics 1.9) forgets the weights. A NaN is kept, to be seen.
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
    """Accuracy of the images as they are, beside that with test-time augmentation."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, average="micro", validate_args=False)

    def update(self, plain_preds: Tensor, target: Tensor) -> None:
        """Count a batch of logits (N, num_classes) and classes (N,)."""
        super().update(plain_preds, target)


class TrainMeans(_Sums):
    """Loss and accuracy over an epoch's training batches.

    One metric of what the step has computed already: a collection of two takes four times as long, in every step.
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
        """Count a batch of ``count`` images, its mean loss and how many of it were right, scalars."""
        self.loss += loss.float() * count
        self.correct += correct
        self.count += count

    def compute(self) -> dict[str, Tensor]:
        """The means, by the names they are logged under; none if no batch was counted, as by a step of one's own."""
        if not self.count:
            return {}
        return {"train/loss": self.loss / self.count, "train/accuracy": self.correct.float() / self.count}

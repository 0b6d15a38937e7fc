"""Means over an epoch, from sums that half precision does not limit."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torchmetrics import Metric


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

"""Means over an epoch, accumulated in float32."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torchmetrics import Metric


class Sums(Metric):
    """A metric whose sums stay in float32, even if the network is in float16, whose largest value is 65,504."""

    full_state_update = False

    # Lightning calls Module.to(dtype) for 16-true; torch 2.14 and torchmetrics 1.9 have no public hook for it.
    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> nn.Module:
        return super()._apply(lambda tensor: tensor.to(fn(tensor).device), exclude_state)


class MeanLoss(Sums):
    """Mean of batch means, weighted by batch size; a NaN makes the mean NaN.

    torchmetrics' MeanMetric either checks each batch for NaN, which forces a GPU to synchronize, or ignores the
    weights (``nan_strategy="disable"``, torchmetrics 1.9).
    """

    sum: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sum", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, value: Tensor, weight: int) -> None:
        """Add a batch of ``weight`` images with mean loss ``value``, a scalar."""
        self.sum += value.float() * weight
        self.count += weight

    def compute(self) -> Tensor:
        """The mean; NaN before the first batch."""
        return self.sum / self.count


class TrainMeans(Sums):
    """Loss and accuracy over the training batches of an epoch.

    A single metric, because a collection of two metrics takes four times as long.
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
        """Add a batch of ``count`` images with its mean loss and number of correct predictions, both scalars."""
        self.loss += loss.float() * count
        self.correct += correct
        self.count += count

    def compute(self) -> dict[str, Tensor]:
        """The means by logged name; empty if no batch was added, for example by a custom training step."""
        if not self.count:
            return {}
        return {"train/loss": self.loss / self.count, "train/accuracy": self.correct.float() / self.count}

"""Cross-entropy from its definition (exercise 5 of the lab)."""

from typing import Literal

import torch
from torch import Tensor

from cifar_cnn.base.input_checks.cross_entropy import check_options, check_tensors
from cifar_cnn.parts.class_weights import ClassWeights

Reduction = Literal["mean", "sum", "none"]


def cross_entropy(
    prediction: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross-entropy between logits and target classes.

    With logits x, class weights w (default 1), C classes and label smoothing e, the loss of one image is::

        loss = - sum_c  w_c * q_c * log p_c        p = softmax(x),  p_c = exp(x_c) / sum_k exp(x_k)
                                                   q_c = (1 - e) * t_c + e / C

    where t is the target distribution: the given probabilities, or 1 at a given class index and 0 elsewhere.
    "mean" divides the sum of the losses by the number of images for probabilities, and by the sum of the targets'
    class weights for class indices, without ignored targets (nan if all are ignored).

    Args:
        prediction: logits, (N, C), (C,) or (N, C, d1, ...); half precision is computed in float32.
        target: class indices in [0, C), (N,), () or (N, d1, ...), or probabilities of the same shape as `prediction`.
            An index outside [0, C) raises a RuntimeError, on a GPU a device-side assert.
        weight: (C,), a weight for each class.
        ignore_index: targets of this value have no loss and no gradient; for class indices only.
        reduction: "mean" and "sum" return a scalar, "none" returns the losses in the shape of the class indices.
        label_smoothing: e, in [0, 1].

    Source: `torch.nn.CrossEntropyLoss` for the definition; Goodfellow et al., Deep Learning (2016), section
    4.1, for the stable softmax; Szegedy et al., arXiv:1512.00567, section 7, for label smoothing.
    """
    check_options(reduction, label_smoothing)
    check_tensors(prediction, target, weight, ignore_index)
    class_dim = min(prediction.dim() - 1, 1)  # 0 for (C,)
    classes = prediction.shape[class_dim]

    result_dtype = torch.promote_types(prediction.dtype, target.dtype)
    dtype = torch.promote_types(result_dtype, torch.float32)
    log_p = _log_softmax(prediction.to(dtype), class_dim)
    weight = log_p.new_ones(classes) if weight is None else weight.to(dtype)
    # (C, 1, ...) broadcasts along the class dimension of log_p.
    weighted_log_p = log_p * weight.view(-1, *[1] * (prediction.dim() - class_dim - 1))

    divisor: Tensor | int
    if target.shape == prediction.shape:
        q = (1 - label_smoothing) * target.to(dtype) + label_smoothing / classes
        losses = -(q * weighted_log_p).sum(class_dim)
        divisor = losses.numel()
    else:
        target = target.long()
        ignored = target == ignore_index
        # ignore_index need not be a class index: use class 0 instead; the mask below removes its loss.
        y = target.masked_fill(ignored, 0)
        losses = -weighted_log_p.gather(class_dim, y.unsqueeze(class_dim)).squeeze(class_dim)
        if label_smoothing > 0:
            losses = (1 - label_smoothing) * losses - label_smoothing * weighted_log_p.mean(class_dim)
        losses = losses.masked_fill(ignored, 0)
        divisor = weight.take(y).masked_fill(ignored, 0).sum()

    if reduction == "mean":
        loss = losses.sum() / divisor
    elif reduction == "sum":
        loss = losses.sum()
    else:
        loss = losses
    return loss if _is_autocast_enabled(prediction.device.type) else loss.to(result_dtype)


class CrossEntropyLoss(ClassWeights):
    """`cross_entropy` as a module, for use in a config.

    Args:
        weight: a weight for each class; "balanced": n / (k * count) for n training images in k classes.
        ignore_index: targets of this value have no loss and no gradient.
        reduction: "mean", "sum" or "none".
        label_smoothing: the fraction of the target, in [0, 1], that is spread evenly over all classes.
    """

    def __init__(
        self,
        weight: list[float] | Literal["balanced"] | None = None,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight)
        check_options(reduction, label_smoothing)
        self.ignore_index = ignore_index
        self.reduction: Reduction = reduction
        self.label_smoothing = label_smoothing

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Compute :func:`cross_entropy` of logits and class indices or probabilities."""
        return cross_entropy(
            prediction,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


def _log_softmax(x: Tensor, dim: int) -> Tensor:
    # Adding a constant to all logits does not change the softmax. Shifting the largest to 0 keeps exp from overflowing
    # and the sum at 1 or more. Because the result does not depend on the shift, it needs no gradient.
    shifted = x - x.detach().amax(dim, keepdim=True)
    return shifted - shifted.exp().sum(dim, keepdim=True).log()


def _is_autocast_enabled(device: str) -> bool:
    # Under autocast, losses stay in float32. Devices without autocast, such as "meta", would raise an error.
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)

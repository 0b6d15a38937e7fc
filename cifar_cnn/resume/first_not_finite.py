"""Find where values first become NaN or infinite (images, weights, logits, loss or gradients), and the usual cause."""

import copy
import logging
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn

from cifar_cnn.augmentations import loss_of
from cifar_cnn.checks.layer_trace import Call, LayerTrace
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.data.batches import Batch, TrainBatches
from cifar_cnn.metrics import in_float32
from cifar_cnn.parts.losses import name_of_loss
from cifar_cnn.resume.checkpoints import last_checkpoint

log = logging.getLogger("cifar_cnn")

_LARGE_WEIGHT = 1e4  # larger than any trained network's; a learning rate that is too high exceeds it within a few steps
_LARGEST_EXPONENT = 88.0  # for exp() in float32


class Finding(NamedTuple):
    """The first values that are not finite."""

    part: str  # images, weights, logits, loss or gradients
    sentence: str  # the usual cause and its remedy


def diagnosis(trainer: Trainer, epoch: int, batch_idx: int, batch: Any) -> str:
    """Explain why a loss or the weights became NaN or infinite, and what to do, in one sentence.

    Args:
        trainer: the Trainer of the fit. With several ranks, which see different images, the advice is general.
        epoch: epoch of the step in question.
        batch_idx: index of its batch within that epoch.
        batch: its batch, in case the loader cannot recreate it.
    """
    model = trainer.lightning_module
    found = None
    if trainer.world_size == 1 and isinstance(model, ImageClassifier):
        try:
            found = _find(trainer, model, _batches(trainer, epoch, batch_idx) or [batch])
        except Exception:  # a failed diagnosis must not hide the original problem
            log.debug("no diagnosis", exc_info=True)
    return found[0].upper() + found[1:] if found else "Lowering --model.optimizer.lr usually helps"


def _find(trainer: Trainer, model: ImageClassifier, batches: list[Batch]) -> str | None:
    def look(batch: Batch, weights: Mapping[str, Tensor] | None = None) -> Finding | None:
        return first_not_finite(model, batch, trainer.precision_plugin.forward_context(), weights)

    if _finite(model.backbone.state_dict().values()):
        if (finding := look(batches[0])) is not None:
            return finding.sentence
        own = type(model)
        if own.training_step is ImageClassifier.training_step:
            return None
        return f"the network and the loss are finite on this batch: check {own.__name__}.training_step"
    if not _finite([batches[0].images]):
        return _images(batches[0].images)
    last = last_checkpoint(trainer)
    if last is None or last.path is None:
        return weights_advice(model.backbone)
    weights = torch.load(last.path, map_location=model.device, weights_only=True)["state_dict"]
    for batch in batches:
        if (finding := look(batch, weights)) is not None:
            return finding.sentence
    return f"{weights_advice(model.backbone)}; with the weights of step {last.step}, loss and gradients are finite"


def _batches(trainer: Trainer, epoch: int, batch_idx: int) -> list[Batch]:
    """The batch in question and the one before it, as the training step saw them; empty if they cannot be recreated."""
    loader = trainer.train_dataloader
    if not isinstance(loader, TrainBatches):
        return []
    order = loader.order(epoch)
    made = [loader.batch(order, epoch, index) for index in (batch_idx, batch_idx - 1) if index >= 0]
    return [trainer.strategy.batch_to_device(each) for each in made]


def first_not_finite(
    model: ImageClassifier,
    batch: Batch,
    context: AbstractContextManager,
    weights: Mapping[str, Tensor] | None = None,
) -> Finding | None:
    """Run a copy of the network and the loss on a batch, forward and backward, until a value is not finite.

    Args:
        model: the classifier; neither it nor any random generator changes.
        batch: the batch as the training step receives it.
        context: the context of the forward pass, such as autocast.
        weights: the ``state_dict`` of a checkpoint, to use instead of the model's weights.

    Returns:
        The first values that are not finite; None if all are finite.
    """
    if not _finite([batch.images]):
        return Finding("images", _images(batch.images))
    backbone, loss = copy.deepcopy((model.backbone, model.loss))
    if weights is not None:
        start = "backbone."
        backbone.load_state_dict({k.removeprefix(start): v for k, v in weights.items() if k.startswith(start)})
    if not _finite(backbone.state_dict().values()):
        return Finding("weights", weights_advice(backbone))
    first: list[Call] = []

    def watch(call: Call) -> None:
        if not first and not _finite(_tensors(call.output)):
            first.append(call)

    with isolate_rng(), torch.enable_grad(), LayerTrace(backbone, watch), context:
        logits = backbone(batch.images.contiguous(memory_format=model.memory_format))
        if not _finite([logits]):
            return _unless_weights_are_large(backbone, Finding("logits", _logits(first[0])))
        value = loss_of(loss, in_float32(logits), batch.labels)
    if not _finite([value]):
        return _unless_weights_are_large(backbone, Finding("loss", _loss(loss, logits.detach().float())))
    value.backward()
    bad = next((k for k, p in backbone.named_parameters() if p.grad is not None and not _finite([p.grad])), None)
    return _unless_weights_are_large(backbone, Finding("gradients", _gradients(bad))) if bad is not None else None


def _unless_weights_are_large(network: nn.Module, finding: Finding) -> Finding:
    return Finding("weights", weights_advice(network)) if _largest_weight(network) > _LARGE_WEIGHT else finding


def weights_advice(network: nn.Module) -> str:
    """The usual cause of weights that are very large or not finite, and its remedy."""
    largest = _largest_weight(network)
    grown = f"the weights have grown to {largest:.2g}" if largest < float("inf") else "the weights are no longer finite"
    return f"{grown}, usually because the learning rate is too high: lower --model.optimizer.lr or use a longer warm-up"


def _largest_weight(network: nn.Module) -> float:
    sizes = [each.detach().abs().max() for each in network.parameters() if each.numel()]
    return torch.stack([each.float() for each in sizes]).nan_to_num(nan=float("inf")).max().item() if sizes else 0.0


def _images(images: Tensor) -> str:
    channels = [c for c in range(images.shape[1]) if not _finite([images[:, c]])]
    which = f"channel {', '.join(map(str, channels))}" if len(channels) < images.shape[1] else "each channel"
    return (
        f"the images are not finite after normalization (in {which}): check the data; a channel that is constant "
        "over all images, for example, has a standard deviation of 0"
    )


def _logits(call: Call) -> str:
    name, kind = call.name or "its forward", type(call.module).__name__
    where = f"images and weights are finite, but the output of {name} ({kind}) is not"
    if any(each.dtype == torch.float16 for each in _tensors(call.output)):
        return f"{where}: float16 overflows at 65,504, so add --trainer.precision bf16-mixed or 32-true"
    return f"{where}: look for a division by 0, the logarithm or root of a negative number, or an overflow"


def _loss(loss: Any, logits: Tensor) -> str:
    name = name_of_loss(loss)
    where = f"the logits are finite, but the loss ({name}) is not"
    sums = logits.sum(1)
    if (logits >= 0).all() and torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
        return (
            f"{where}: the network ends in a softmax, and the loss takes the logarithm of its zeros; remove the softmax"
        )
    if logits.abs().max() > _LARGEST_EXPONENT:
        return (
            f"{where}: exp() of logits as large as {logits.abs().max().item():.3g} is infinite or 0; use "
            "torch.log_softmax, which subtracts the maximum first"
        )
    return f"{where}: look for 0 / 0, or the logarithm of 0 or of a negative number (logits can be negative)"


def _gradients(name: str) -> str:
    return (
        f"the loss is finite, but the gradient of {name} is not: look for a root, a norm or a logarithm of 0, or a "
        "torch.where with a branch that is not finite"
    )


def _finite(tensors: Iterable[Tensor]) -> bool:
    return all(bool(each.isfinite().all()) for each in tensors if each.is_floating_point())


def _tensors(output: Any) -> list[Tensor]:
    values = output if isinstance(output, (tuple, list)) else [output]
    return [each.detach() for each in values if isinstance(each, Tensor)]

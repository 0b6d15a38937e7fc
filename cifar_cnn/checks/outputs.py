"""Explain in one sentence why a network's output or a loss's value cannot be used in training."""

import inspect
from typing import Any

from torch import Tensor, nn

from cifar_cnn.checks.layer_advice import written
from cifar_cnn.parts.losses import name_of_loss


def wrong_logits(backbone: nn.Module, logits: Any, images: int, classes: int) -> str:
    """Explain why a backbone's output is not a tensor of logits.

    Args:
        backbone: the network.
        logits: its output; not of shape (images, classes).
        images: the number of images in the batch.
        classes: the number of classes of the data.
    """
    name = type(backbone).__name__
    wanted = f"the backbone must return logits of shape (N, num_classes) = {(images, classes)}; {name}"
    if logits is None:
        return f"{wanted}.forward returned None: end it with  return x"
    if isinstance(logits, (tuple, list, dict)):
        return f"{wanted} returned a {type(logits).__name__} of {len(logits)}: return only the logits"
    if not isinstance(logits, Tensor):
        return f"{wanted} returned a {type(logits).__name__}: return the logits as a tensor"
    returned = f"{wanted} returned {tuple(logits.shape)}"
    if logits.ndim > 2 and logits.numel() == images * classes:
        return f"{returned}: flatten it with  x.flatten(1)"
    if logits.ndim == 4:
        return f"{returned}: pool or flatten these maps to one number per class"
    if logits.ndim != 2 or len(logits) != images:
        return f"{returned}: return one row per image; x.flatten(1) keeps the rows, view(-1, ...) may not"
    return f"{returned}: the data has {classes} classes, {_how_to_set_classes(backbone, logits.shape[1], classes)}"


def wrong_loss(loss: Any, value: Any) -> str:
    """Explain why the value of a loss is not a scalar.

    Args:
        loss: the module or function.
        value: its return value; not a scalar tensor.
    """
    name = name_of_loss(loss)
    if isinstance(value, Tensor):
        what = f"{tuple(value.shape)}: average it with .mean() or reduction: mean"
    elif value is None:
        what = "None: end it with a return"
    else:
        what = f"a {type(value).__name__}: return the tensor itself, without .item(), so that it can be differentiated"
    return f"model.loss must return one number per batch; {name} returned {what}"


def _how_to_set_classes(backbone: nn.Module, given: int, classes: int) -> str:
    if "num_classes" in inspect.signature(type(backbone)).parameters:
        return "see --model.backbone.num_classes"
    linears = [(name, each) for name, each in backbone.named_modules() if isinstance(each, nn.Linear)]
    if linears and linears[-1][1].out_features == given:
        name, layer = linears[-1]
        return f"and layer {name} is {written(layer)}: write {written(layer, out_features=classes)}"
    return "so give the last layer as many outputs (with --model.backbone.num_classes, if the network takes it)"

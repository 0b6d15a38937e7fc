"""What is wrong with logits or a loss that a training step cannot use, in one sentence."""

import inspect
from typing import Any

from torch import Tensor, nn

from cifar_cnn.checks.layer_advice import written
from cifar_cnn.losses import name_of_loss


def wrong_logits(backbone: nn.Module, logits: Any, images: int, classes: int) -> str:
    """Why a backbone's output is not the logits.

    Args:
        backbone: the network.
        logits: its output; not of shape (images, classes).
        images: how many came in.
        classes: of the data.
    """
    name = type(backbone).__name__
    wanted = f"the backbone must give logits of shape (N, num_classes) = {(images, classes)}; {name}"
    if logits is None:
        return f"{wanted}.forward returned None: end it with  return x, the logits"
    if isinstance(logits, (tuple, list, dict)):
        return f"{wanted} gave a {type(logits).__name__} of {len(logits)}: return the logits alone"
    if not isinstance(logits, Tensor):
        return f"{wanted} gave a {type(logits).__name__}: return the logits, a tensor"
    gave = f"{wanted} gave {tuple(logits.shape)}"
    if logits.ndim > 2 and logits.numel() == images * classes:
        return f"{gave}: flatten it with  x.flatten(1)"
    if logits.ndim == 4:
        return f"{gave}: maps, which have to be pooled or flattened to one number a class"
    if logits.ndim != 2 or len(logits) != images:
        return f"{gave}: one row an image is needed, which x.flatten(1) keeps and view(-1, ...) may not"
    return f"{gave}: the data has {classes} classes, {_how_to_set_classes(backbone, logits.shape[1], classes)}"


def wrong_loss(loss: Any, value: Any) -> str:
    """Why what a loss gave is not one number.

    Args:
        loss: the module or function.
        value: what it gave; no scalar tensor.
    """
    name = name_of_loss(loss)
    if isinstance(value, Tensor):
        what = f"{tuple(value.shape)}: average it, with .mean() or reduction: mean"
    elif value is None:
        what = "None: end it with a return"
    else:
        what = f"a {type(value).__name__}: give the tensor itself, without .item(), since it is differentiated"
    return f"model.loss must give one number a batch; {name} gave {what}"


def _how_to_set_classes(backbone: nn.Module, given: int, classes: int) -> str:
    if "num_classes" in inspect.signature(type(backbone)).parameters:
        return "see --model.backbone.num_classes"
    linears = [(name, each) for name, each in backbone.named_modules() if isinstance(each, nn.Linear)]
    if linears and linears[-1][1].out_features == given:
        name, layer = linears[-1]
        return f"and layer {name} is {written(layer)}: write {written(layer, out_features=classes)}"
    return "as many as the last layer must have outputs (see --model.backbone.num_classes if it has that option)"

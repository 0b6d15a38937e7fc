"""Copy a student's weights into the package's own network, in the order in which they run."""

from collections.abc import Iterable

import torch
from torch import nn

from cifar_cnn.lab.tracing import Operation

_KINDS = {"conv": nn.Conv2d, "linear": nn.Linear, "batch_norm": nn.BatchNorm2d}


def copy_layers(operations: Iterable[Operation], network: nn.Module) -> None:
    """Copy the weights of operations into the layers of a network, whose order is that of its modules.

    A bias that the network's convolution lacks is taken off the running mean of the BatchNorm that follows: the
    output is the same.
    """
    layers = [each for each in network.modules() if isinstance(each, tuple(_KINDS.values()))]
    own = [each for each in operations if each.kind in _KINDS]
    bias = torch.zeros(())
    with torch.no_grad():
        for operation, layer in zip(own, layers, strict=True):
            tensors = dict(operation.tensors)
            if operation.kind == "batch_norm":
                tensors["running_mean"] = tensors["running_mean"] - bias
            held = dict(layer.named_parameters()) | dict(layer.named_buffers())
            for name, tensor in tensors.items():
                if name in held:
                    held[name].copy_(tensor)
            missing = "bias" in tensors and "bias" not in held
            bias = tensors["bias"] if missing else torch.zeros(())

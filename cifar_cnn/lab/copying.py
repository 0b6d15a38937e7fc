"""Compare a student's network with the package's own, which gets the student's weights in the order of execution."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cifar_cnn.lab.tracing import Operation

_KINDS = {"conv": nn.Conv2d, "linear": nn.Linear, "batch_norm": nn.BatchNorm2d}


def same_output(
    own: nn.Module, operations: Sequence[Operation], same: nn.Module, x: Tensor, tolerance: float = 1e-4
) -> bool:
    """Whether the package's network has the same output with the same weights, in training and evaluation mode.

    Args:
        own: the student's network; left in training mode if the outputs are equal.
        operations: its operations, from which the weights are taken.
        same: the package's network; it is changed.
        x: the input of both.
        tolerance: absolute tolerance.
    """
    for train in (True, False):
        copy_layers(operations, same)  # again: training changes the running averages
        with torch.no_grad():
            output, expected = own.train(train)(x.clone()), same.train(train)(x.clone())
        if not torch.allclose(output, expected, rtol=1e-3, atol=tolerance):
            return False
    own.train()
    return True


def copy_layers(operations: Sequence[Operation], network: nn.Module) -> None:
    """Copy the weights of operations into the layers of a network, in the order of its modules.

    If the network's convolution has no bias, the bias is subtracted from the running mean of the following BatchNorm,
    which gives the same output.
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

"""The size of a network."""

from torch import nn


def count_parameters(network: nn.Module) -> int:
    """Number of parameters, trainable or not; shared parameters count once."""
    return sum(parameter.numel() for parameter in network.parameters())

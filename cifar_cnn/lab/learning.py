"""Check that a network can be trained: a gradient reaches every parameter, and it can memorize a few images."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cifar_cnn.lab.findings import Finding, Wrong, finding
from cifar_cnn.lab.student import call

_STEPS = 40
_CLASSES = 10


def some_images(n: int, side: int = 32) -> tuple[Tensor, Tensor]:
    """Noise and a class for each image, the same each time: (n, 3, side, side) and (n,)."""
    generator = torch.Generator().manual_seed(n)
    return torch.randn(n, 3, side, side, generator=generator), torch.arange(n) % _CLASSES


def without_gradient(network: nn.Module, output: Tensor) -> list[Finding]:
    """The parameters that no gradient reaches.

    Args:
        network: in training mode.
        output: output of the network.
    """
    if not any(True for _ in network.parameters()):
        return [finding("no_parameters")]
    if not output.requires_grad:
        return [finding("no_gradient_at_all")]
    network.zero_grad()
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(0))  # a sum after BatchNorm has none
    (output * weights).sum().backward()
    frozen = [name for name, each in network.named_parameters() if not each.requires_grad]
    if frozen:
        return [finding("frozen", name=frozen[0])]
    idle = [name for name, each in network.named_parameters() if each.grad is None]
    network.zero_grad()
    return [finding("no_gradient", name=idle[0].rpartition(".")[0] or idle[0])] if idle else []


def learns_by_heart(network: nn.Module, n: int = 64, side: int = 32) -> list[Finding]:
    """Train the network on a few images until it classifies all of them correctly; a finding if it does not succeed.

    Args:
        network: the network; it is changed.
        n: number of images.
        side: their height and width.
    """
    images, target = some_images(n, side)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    network.train()
    right = 0
    for _ in range(_STEPS):
        output = call(network, images, what="forward")
        loss = F.cross_entropy(output, target)
        right = int((output.argmax(1) == target).sum())
        if right == n:
            return []
        if not math.isfinite(loss.item()):
            raise Wrong(finding("not_finite"))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return [finding("does_not_learn", right=right, n=n, steps=_STEPS)]

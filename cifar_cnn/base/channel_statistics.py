"""Mean and standard deviation of each image channel."""

from collections.abc import Sequence

import torch
from torch import Tensor


def channel_mean_std(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over all pixels of all images, scaled to [0, 1].

    The standard deviation of a constant channel is 1, because images are divided by it.

    Args:
        images: uint8, (N, C, H, W).
    """
    levels = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for channel in images.unbind(1):
        # Uses a histogram, because converting the images to float64 would take eight times their memory.
        weight = torch.bincount(channel.flatten().int(), minlength=256).double() / channel.numel()
        mean = (weight * levels).sum()
        means.append(mean.item())
        stds.append((weight * (levels - mean) ** 2).sum().sqrt().item() or 1.0)
    return tuple(means), tuple(stds)


def denormalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Convert float images (N, C, H, W) that were normalized with ``mean`` and ``std``, in [0, 1], back to uint8."""
    mean_, std_ = (torch.as_tensor(values, device=images.device)[:, None, None] for values in (mean, std))
    return (255 * (images * std_ + mean_)).round().clamp(0, 255).byte()

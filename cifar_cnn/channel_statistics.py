"""Mean and standard deviation of the channels of images."""

import torch
from torch import Tensor


def channel_mean_std(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over all pixels of all images, in the unit range [0, 1].

    A constant channel gets a standard deviation of 1, because images are divided by it.

    Args:
        images: uint8, (N, C, H, W).
    """
    levels = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for channel in images.unbind(1):
        # The images as float64 would take eight times their memory; a histogram does not.
        weight = torch.bincount(channel.flatten().int(), minlength=256).double() / channel.numel()
        mean = (weight * levels).sum()
        means.append(mean.item())
        stds.append((weight * (levels - mean) ** 2).sum().sqrt().item() or 1.0)
    return tuple(means), tuple(stds)

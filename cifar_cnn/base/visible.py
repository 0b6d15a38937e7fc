"""Show images of any number of channels in color."""

import torch
from torch import Tensor


def visible(images: Tensor) -> Tensor:
    """Convert images (..., C, H, W) to RGB (..., 3, H, W): gray becomes RGB; of four or more channels, three are shown.

    The second of two channels is shown as green, and blue is 0.
    """
    channels = images.shape[-3]
    if channels == 1:
        return images.expand(*images.shape[:-3], 3, *images.shape[-2:])
    if channels == 2:
        return torch.cat([images, torch.zeros_like(images[..., :1, :, :])], -3)
    return images[..., :3, :, :]

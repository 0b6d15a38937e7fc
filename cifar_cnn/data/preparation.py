"""From a loader's batch to the network's: augment and normalise, on the device."""

import torch
from torch import Tensor

from cifar_cnn.data.augment import Augment, normalize, resize
from cifar_cnn.data.batches import Batch
from cifar_cnn.data.sources import ChannelStats
from cifar_cnn.errors import InputError


class Preparation:
    """Augments batches that have draws, and normalises all.

    Args:
        augment: the augmentation.
        mean_std: per-channel mean and standard deviation of the images in [0, 1].
    """

    def __init__(self, augment: Augment, mean_std: ChannelStats) -> None:
        if not all(std > 0 for std in mean_std[1]):
            raise InputError("mean_std of the source has a standard deviation of 0: use 1 for a constant channel")
        self.augment = augment
        self.mean_std = mean_std
        self._on_device: dict[torch.device, list[Tensor]] = {}  # copying them in each step would make a GPU wait

    def __call__(self, batch: Batch, size: int | None = None, dtype: torch.dtype = torch.float32) -> Batch:
        """Prepare a batch of uint8 images.

        Args:
            batch: of a loader, on any device.
            size: scale training images down to this many pixels a side.
            dtype: of the result.
        """
        images, draws = batch.images, batch.draws
        if draws is None:
            # The layout that networks are fastest in; changing it costs four times as much once the images are floats.
            images = images.contiguous(memory_format=torch.channels_last)
        else:
            images = self.augment.pixels(images, draws)
            if size is not None:
                images = resize(images, size)
        if images.device not in self._on_device:
            self._on_device[images.device] = [torch.tensor(values, device=images.device) for values in self.mean_std]
        mean, std = self._on_device[images.device]
        images = normalize(images, mean, std, dtype)
        if draws is not None:
            images = self.augment.values(images, draws)
        return batch._replace(images=images, draws=None)

"""Augment and normalize batches on the device."""

import torch
from torch import Tensor

from cifar_cnn.augmentations import mixed
from cifar_cnn.base.errors import InputError
from cifar_cnn.data.augment import Augment, normalize, resize
from cifar_cnn.data.batches import Batch
from cifar_cnn.data.sources import ChannelStats


class Preparation:
    """Normalize batches and augment those with draws; ``mean_std`` holds the channels' statistics in [0, 1]."""

    def __init__(self, augment: Augment, mean_std: ChannelStats, num_classes: int) -> None:
        if not all(std > 0 for std in mean_std[1]):
            raise InputError("mean_std of the source has a standard deviation of 0: use 1 for a constant channel")
        # Cached per device, because copying them in each step would force a GPU to synchronize.
        self._on_device: dict[torch.device, list[Tensor]] = {}
        self.augment = augment
        self.mean_std = mean_std
        self.num_classes = num_classes

    def __call__(self, batch: Batch, size: int | None = None, dtype: torch.dtype = torch.float32) -> Batch:
        """Prepare a batch of uint8 images; ``size`` scales training images down to this many pixels per side."""
        images, labels, draws = batch.images, batch.labels, batch.draws
        if draws is None:
            # Networks are fastest with channels_last; converting float images would take four times as long.
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
            images, labels = mixed(self.augment.mix, images, labels, self.num_classes, draws.batch_seed)
        return batch._replace(images=images, labels=labels, draws=None)

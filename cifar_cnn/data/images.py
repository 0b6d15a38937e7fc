"""A set of images as it lies in memory, and its split into training and validation images."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cifar_cnn.errors import InputError


@dataclass(frozen=True)
class ImageSet:
    """Images, all of one size, with their classes.

    Attributes:
        images: uint8, (N, 3, H, W).
        labels: int64, (N,), each the index of a class name.
        class_names: one name a class.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> "ImageSet":
        """The same on ``device``."""
        return ImageSet(self.images.to(device), self.labels.to(device), self.class_names)

    def subset(self, indices: Tensor) -> "ImageSet":
        """Copy out the images at ``indices`` (int64, (M,)), in that order."""
        return ImageSet(self.images[indices], self.labels[indices], self.class_names)


def random_order(n: int, seed: int = 0) -> Tensor:
    """The numbers from 0 to ``n`` - 1 in a random order that ``seed`` fixes: int64, (n,).

    Its first numbers are a random sample of a set of ``n`` images. The first images as stored are not: image folders
    lie sorted by class.
    """
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def stratified_split(image_set: ImageSet, val_size: int, seed: int) -> tuple[ImageSet, ImageSet]:
    """Split into (train, val), with each class's share of the ``val_size`` images in proportion to its size.

    The choice depends on ``seed`` and the labels alone. Where the shares are no whole numbers, the classes with the
    largest remainders get one image more (the Hare quota), so that val has exactly ``val_size`` images.

    Raises:
        InputError: ``val_size`` is negative or leaves no image to train on.
    """
    n = len(image_set)
    if not 0 <= val_size < n:
        raise InputError(f"val_size must be from 0 to {n - 1} for {n} training images; it is {val_size}")
    counts = torch.bincount(image_set.labels, minlength=len(image_set.class_names))
    exact = counts.double() * val_size / n
    share = exact.floor().long()
    remainder_order = torch.argsort(exact - share, descending=True, stable=True)
    share[remainder_order[: val_size - int(share.sum())]] += 1

    shuffled = random_order(n, seed)
    val = torch.zeros(n, dtype=torch.bool)
    for label, size in enumerate(share.tolist()):
        val[shuffled[image_set.labels[shuffled] == label][:size]] = True
    return image_set.subset(torch.nonzero(~val)[:, 0]), image_set.subset(torch.nonzero(val)[:, 0])


def channel_mean_std(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over all pixels of all images, in the unit range [0, 1].

    Args:
        images: uint8, (N, C, H, W).
    """
    levels = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for channel in images.unbind(1):
        # A histogram instead of the images as float64, which would take eight times their memory.
        weight = torch.bincount(channel.flatten().int(), minlength=256).double() / channel.numel()
        mean = (weight * levels).sum()
        means.append(mean.item())
        stds.append((weight * (levels - mean) ** 2).sum().sqrt().item())
    return tuple(means), tuple(stds)

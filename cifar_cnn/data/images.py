"""A set of images in memory, and its split into training and validation images."""

import hashlib
import logging
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from cifar_cnn.errors import InputError

log = logging.getLogger("cifar_cnn")


@dataclass(frozen=True)
class ImageSet(Dataset[tuple[Tensor, int]]):
    """Images of one size with their classes.

    ``image_set[0]`` is the first image, uint8 (3, H, W), and its label, an int. An ImageSet works in a
    torch.utils.data.DataLoader.

    Attributes:
        images: uint8, (N, 3, H, W). NumPy arrays are converted.
        labels: int64, (N,), indices of class names. Other integers, NumPy arrays and lists are converted.
        class_names: one name per class.

    Raises:
        InputError: the images are not uint8 or have another shape, or a label is not an index of a class name.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "images", _checked_images(self.images))
        object.__setattr__(self, "labels", _checked_labels(self.labels, len(self.images), len(self.class_names)))
        object.__setattr__(self, "class_names", tuple(self.class_names))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        index = operator.index(index)
        return self.images[index], int(self.labels[index])

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        return zip(self.images, self.labels.tolist(), strict=True)

    def to(self, device: torch.device) -> "ImageSet":
        """Copy to ``device``."""
        return ImageSet(self.images.to(device), self.labels.to(device), self.class_names)

    def sha256(self) -> str:
        """A fingerprint of all images and their labels."""
        digest = hashlib.sha256(self.images.cpu().numpy().tobytes())
        digest.update(self.labels.cpu().numpy().tobytes())
        return digest.hexdigest()

    def subset(self, indices: Tensor) -> "ImageSet":
        """Copy out the images at ``indices`` (int64, (M,)), in that order."""
        return ImageSet(self.images[indices], self.labels[indices], self.class_names)


def _checked_images(images: Any) -> Tensor:
    """The images as a tensor, if they are uint8 (N, C, H, W)."""
    images = _tensor(images, "images")
    if images.dtype != torch.uint8:
        unit = images.is_floating_point() and images.numel() and images.min() >= 0 and images.max() <= 1
        fix = "(images * 255).round().to(torch.uint8)" if unit else "images.to(torch.uint8), if they are 0 to 255"
        raise InputError(
            f"an ImageSet takes uint8 images, 0 to 255 and not normalised; these are {_name(images.dtype)}: write {fix}"
        )
    if images.ndim != 4 or (images.shape[1] > 4 and images.shape[3] in (1, 3)):
        fix = "images.permute(0, 3, 1, 2)" if images.ndim == 4 else "images[:, None].repeat(1, 3, 1, 1) for grey ones"
        raise InputError(
            f"an ImageSet takes images of shape (N, 3, H, W); these have {tuple(images.shape)}: write {fix}"
        )
    return images


def _checked_labels(labels: Any, images: int, classes: int) -> Tensor:
    """The labels as int64 (N,), if each is the index of a class."""
    labels = _tensor(labels, "labels")
    if labels.ndim == 2 and len(labels) == images:
        raise InputError(f"an ImageSet takes labels of shape (N,), not {tuple(labels.shape)}: write labels.argmax(1)")
    if labels.shape != (images,):
        raise InputError(
            f"an ImageSet takes one label per image; {images} images have labels of shape {tuple(labels.shape)}"
        )
    if images and (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool):
        raise InputError(f"an ImageSet takes integer labels, not {_name(labels.dtype)}: write labels.long()")
    labels = labels.long()
    low, high = (int(labels.min()), int(labels.max())) if images else (0, 0)
    if images and (low < 0 or high >= classes):
        raise InputError(
            f"the labels of an ImageSet are indices of its {classes} class names, 0 to {classes - 1}; "
            f"these go from {low} to {high}"
        )
    return labels


def _tensor(values: Any, what: str) -> Tensor:
    try:
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"the {what} of an ImageSet must be a tensor or array of numbers: {error}") from error


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def random_order(n: int, seed: int = 0) -> Tensor:
    """The numbers from 0 to ``n`` - 1 in a random order that depends on ``seed`` alone: int64, (n,).

    The first of these numbers are a random sample of ``n`` images. The first images as stored are not a random sample:
    image folders are sorted by class.
    """
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def stratified_split(image_set: ImageSet, val_size: int, seed: int) -> tuple[ImageSet, ImageSet]:
    """Split into (train, val), with each class's share of the ``val_size`` images in proportion to its size.

    The choice depends on ``seed`` and the labels alone. If the shares are not whole numbers, the classes with the
    largest remainders get one more image (the Hare quota), so that val has exactly ``val_size`` images. The last
    training image of a class is taken only if no other class has a remainder.

    Raises:
        InputError: ``val_size`` is negative or leaves no image to train on.
    """
    n = len(image_set)
    if not 0 <= val_size < n:
        raise InputError(f"val_size must be from 0 to {n - 1} for {n} training images; it is {val_size}")
    counts = torch.bincount(image_set.labels, minlength=len(image_set.class_names))
    exact = counts.double() * val_size / n
    share = exact.floor().long()
    remainder = exact - share
    remainder_order = torch.argsort(remainder - (counts - share == 1).double(), descending=True, stable=True)
    share[remainder_order[: val_size - int(share.sum())]] += 1

    shuffled = random_order(n, seed)
    val = torch.zeros(n, dtype=torch.bool)
    for label, size in enumerate(share.tolist()):
        val[shuffled[image_set.labels[shuffled] == label][:size]] = True
    return image_set.subset(torch.nonzero(~val)[:, 0]), image_set.subset(torch.nonzero(val)[:, 0])


def check_classes(whole: ImageSet, train: ImageSet, val_size: int) -> None:
    """Warn about classes without images in ``whole``.

    Raises:
        InputError: the validation split leaves no image of a class in ``train``.
    """
    there, left = (torch.bincount(part.labels, minlength=len(part.class_names)) for part in (whole, train))
    if emptied := [name for name, a, b in zip(whole.class_names, there, left, strict=True) if a and not b]:
        raise InputError(
            f"val_size {val_size} of {len(whole)} images leaves no training image of {_listed(emptied)}: "
            "lower it or add images"
        )
    if missing := [name for name, a in zip(whole.class_names, there, strict=True) if not a]:
        log.warning("There is no training image of %s: the network cannot learn these classes.", _listed(missing))


def _listed(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more classes" if len(names) > most else "")


def on_gpu_if_it_fits(image_set: ImageSet, device: torch.device) -> ImageSet:
    """Move images to a GPU if they take at most half of its free memory; the network needs the rest."""
    if device.type != "cuda":
        return image_set
    free, _ = torch.cuda.mem_get_info(device)
    return image_set.to(device) if image_set.images.nbytes < free / 2 else image_set


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

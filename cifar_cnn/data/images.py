"""Sets of images in memory, and the split into training and validation images."""

import hashlib
import operator
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.input_checks.images import checked_images, checked_labels
from cifar_cnn.subsets.splitting import stratified_choice


@dataclass(frozen=True)
class ImageSet(Dataset[tuple[Tensor, int]]):
    """Images of one size with their labels: a map-style dataset of (image, label) pairs.

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
        object.__setattr__(self, "images", checked_images(self.images))
        object.__setattr__(self, "labels", checked_labels(self.labels, len(self.images), len(self.class_names)))
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
        """The SHA-256 hash of all images and labels, in hexadecimal."""
        digest = hashlib.sha256(self.images.cpu().numpy().tobytes())
        digest.update(self.labels.cpu().numpy().tobytes())
        return digest.hexdigest()

    def subset(self, indices: Tensor) -> "ImageSet":
        """Copy the images at ``indices`` (int64, (M,)), in that order."""
        return ImageSet(self.images[indices], self.labels[indices], self.class_names)


def stratified_split(image_set: ImageSet, val_size: int, seed: int) -> tuple[ImageSet, ImageSet]:
    """Split into (train, val), stratified by class; InputError if ``val_size`` leaves no training image."""
    n = len(image_set)
    if not 0 <= val_size < n:
        raise InputError(f"val_size must be from 0 to {n - 1} for {n} training images; it is {val_size}")
    val = stratified_choice(image_set.labels, len(image_set.class_names), val_size, seed)
    return image_set.subset(torch.nonzero(~val)[:, 0]), image_set.subset(torch.nonzero(val)[:, 0])


def on_gpu_if_it_fits(image_set: ImageSet, device: torch.device) -> ImageSet:
    """Move images to a GPU if they take less than half of its free memory; the network needs the rest."""
    if device.type != "cuda":
        return image_set
    free, _ = torch.cuda.mem_get_info(device)
    return image_set.to(device) if image_set.images.nbytes < free / 2 else image_set

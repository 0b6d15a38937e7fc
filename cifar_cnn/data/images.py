"""Sets of images in memory."""

import hashlib
import operator
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.data import Dataset

from cifar_cnn.base.input_checks.images import checked_images, checked_labels


@dataclass(frozen=True)
class ImageSet(Dataset[tuple[Tensor, int]]):
    """Images of one size with their labels: a map-style dataset of (image, label) pairs.

    Attributes:
        images: uint8, (N, C, H, W), C = 3 for RGB, 1 for gray. NumPy arrays are converted.
        labels: int64, (N,), indices of class names. Other integers, NumPy arrays and lists are converted.
        class_names: one name per class.
        positions: int64, (N,), ascending; the images' positions in a larger set, such as a source's training split;
            None if they are 0 to N - 1.

    Raises:
        InputError: the images are not uint8 or have another shape, or a label is not an index of a class name.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    positions: Tensor | None = None

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
        positions = self.positions.to(device) if self.positions is not None else None
        return replace(self, images=self.images.to(device), labels=self.labels.to(device), positions=positions)

    def take(self, indices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images, labels and positions of the images at ``indices`` (int64, (M,), on the same device)."""
        positions = indices if self.positions is None else self.positions[indices]
        return self.images[indices], self.labels[indices], positions

    def sha256(self) -> str:
        """The SHA-256 hash of all images and labels, in hexadecimal."""
        digest = hashlib.sha256(self.images.cpu().numpy().tobytes())
        digest.update(self.labels.cpu().numpy().tobytes())
        return digest.hexdigest()

    def subset(self, indices: Tensor) -> "ImageSet":
        """The images at ``indices`` (int64, (M,)), as a copy unless these are all images in their order."""
        if torch.equal(indices, torch.arange(len(self))):
            return self
        images, labels, positions = self.take(indices)
        return ImageSet(images, labels, self.class_names, positions)

"""Image sources, augmentation, batches and the data module."""

from cifar_cnn.data.augment import Augment
from cifar_cnn.data.batches import Batch
from cifar_cnn.data.images import ImageSet
from cifar_cnn.data.module import CIFAR10DataModule
from cifar_cnn.data.sources import CIFAR10, CIFAR100, Arrays, ImageFolder, Shapes, Source

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "Arrays",
    "Augment",
    "Batch",
    "CIFAR10DataModule",
    "ImageFolder",
    "ImageSet",
    "Shapes",
    "Source",
]

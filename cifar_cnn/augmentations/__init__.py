"""Transforms of single images, such as RandAugment, and of pairs, such as CutMix, that resume exactly."""

from cifar_cnn.augmentations.functions import FunctionTransform, ImageFunction, Transforms, as_modules, name_of
from cifar_cnn.augmentations.mixing import Mixing, mixed
from cifar_cnn.augmentations.single_images import form, transformed
from cifar_cnn.augmentations.targets import class_titles, largest_class, loss_of
from cifar_cnn.augmentations.whole_batches import check_amounts, cutout, jitter

__all__ = [
    "FunctionTransform",
    "ImageFunction",
    "Mixing",
    "Transforms",
    "as_modules",
    "check_amounts",
    "class_titles",
    "cutout",
    "form",
    "jitter",
    "largest_class",
    "loss_of",
    "mixed",
    "name_of",
    "transformed",
]

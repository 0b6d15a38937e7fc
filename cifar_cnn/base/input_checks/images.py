"""Checks of images and labels: type, shape and range."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cifar_cnn.base.errors import InputError

log = logging.getLogger("cifar_cnn")


def checked_images(images: Any) -> Tensor:
    """Convert the images of an ImageSet to a tensor.

    Raises:
        InputError: the images are not uint8 of shape (N, C, H, W).
    """
    images = _tensor(images, "images")
    if images.dtype != torch.uint8:
        unit = images.is_floating_point() and images.numel() and images.min() >= 0 and images.max() <= 1
        fix = "(images * 255).round().to(torch.uint8)" if unit else "images.to(torch.uint8), if they are 0 to 255"
        raise InputError(
            f"an ImageSet takes uint8 images, 0 to 255, not normalized; these are {_name(images.dtype)}: write {fix}"
        )
    if images.ndim != 4 or (images.shape[1] > 4 and images.shape[3] in (1, 3, 4)):
        fix = "images.permute(0, 3, 1, 2)" if images.ndim == 4 else "images[:, None] for gray ones"
        raise InputError(
            f"an ImageSet takes images of shape (N, C, H, W); these have {tuple(images.shape)}: write {fix}"
        )
    return images


def checked_labels(labels: Any, images: int, classes: int) -> Tensor:
    """Convert the labels of an ImageSet to int64 (N,).

    Raises:
        InputError: there is not one label per image, or a label is not the index of a class.
    """
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


def check_classes(class_names: Sequence[str], labels: Tensor, train_labels: Tensor, choice: str) -> None:
    """Check that each class has training images; warn about classes without any images.

    Args:
        class_names: one name per class.
        labels: int64, (N,); labels of all images.
        train_labels: int64, (M,); labels of the images that are trained on.
        choice: the options that chose these, for the message.

    Raises:
        InputError: a class that has images has none for training.
    """
    there, left = (torch.bincount(part, minlength=len(class_names)) for part in (labels, train_labels))
    if emptied := [name for name, a, b in zip(class_names, there, left, strict=True) if a and not b]:
        raise InputError(f"{choice} leaves no training image of {_listed(emptied)}: leave more images for training")
    if missing := [name for name, a in zip(class_names, there, strict=True) if not a]:
        log.warning("There is no training image of %s: the network cannot learn these classes.", _listed(missing))


def check_split(split: str) -> None:
    """Check the name of a split.

    Raises:
        InputError: there is no such split.
    """
    if split not in ("train", "val", "test"):
        raise InputError(f"split must be 'train', 'val' or 'test', not {split!r}")


def check_loaded(images: Any, cls: type, source: Any) -> None:
    """Check the type of what a source has loaded.

    Raises:
        InputError: it is not a ``cls``.
    """
    if not isinstance(images, cls):
        raise InputError(
            f"{type(source).__name__}.load must return an {cls.__name__}; it returned {type(images).__name__}"
        )


def check_alike(train: Tensor, val: Tensor, train_names: Sequence[str], val_names: Sequence[str]) -> None:
    """Check that a source's validation images, (M, C, H, W), have the classes and the shape of its training images.

    Raises:
        InputError: they differ.
    """
    if list(train_names) != list(val_names):
        raise InputError(
            f"the validation images have the classes {', '.join(val_names)}; the training images have "
            f"{', '.join(train_names)}"
        )
    if train.shape[1:] != val.shape[1:]:
        raise InputError(
            f"the validation images have the shape {tuple(val.shape[1:])}, the training images "
            f"{tuple(train.shape[1:])}: make them equal"
        )


def check_as_trained(
    trained: Mapping[str, Any], class_names: Sequence[str], images: Tensor | None, digest: str | None = None
) -> None:
    """Check that a trained network can classify new images or, in a resumed run, that the images are the same.

    Args:
        trained: ``class_names``, ``image_size`` and ``training_images``, a digest, of the training images.
        class_names: the classes of the new images.
        images: (N, C, H, W), the new images; None if they are not loaded.
        digest: that of the training images of a resumed run; None for another use of the network.

    Raises:
        InputError: the classes or the sizes differ or, in a resumed run, the choice of images or a label.
    """
    if list(class_names) != trained["class_names"]:
        raise InputError(
            f"the checkpoint was trained on the classes {', '.join(trained['class_names'])}; "
            f"these images have {', '.join(class_names)}"
        )
    if images is not None and images.shape[1] != len(trained["mean"]):
        raise InputError(
            f"the checkpoint was trained on images of {len(trained['mean'])} channels; these have {images.shape[1]}"
        )
    if images is not None and images.shape[-1] != trained["image_size"]:
        raise InputError(
            f"the checkpoint was trained on images of {trained['image_size']} pixels per side; these have "
            f"{images.shape[-1]}: set image_size of the source",
            options=["data.source.image_size"],
        )
    if digest is not None and digest != trained.get("training_images", digest):
        raise InputError(
            "the checkpoint was trained on other images or labels: resume with the same data, or start a new run with "
            "the weights of this one (init_from)",
            options=["model.init_from"],
        )


def check_normalized(images: Tensor) -> None:
    """Check the images of an ordinary DataLoader.

    Raises:
        InputError: the images are uint8.
    """
    if images.dtype == torch.uint8:
        raise InputError(
            "the DataLoader yields uint8 images: normalize them to floats, or train with a CIFAR10DataModule, which "
            "normalizes them"
        )


def _tensor(values: Any, what: str) -> Tensor:
    try:
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"the {what} of an ImageSet must be a tensor or array of numbers: {error}") from error


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _listed(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more classes" if len(names) > most else "")

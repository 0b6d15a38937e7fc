"""Run the transforms of single images, and the loss on mixed images, before training, and explain errors."""

import copy
from typing import Any

import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn
from torchvision.transforms import v2

from cifar_cnn.augmentations import as_modules, form, loss_of, mixed, name_of
from cifar_cnn.base.errors import InputError
from cifar_cnn.data import Augment
from cifar_cnn.parts.losses import name_of_loss
from cifar_cnn.trust.tracebacks import library_message

_IMAGES = 16  # so that each of a transform's random choices is likely to occur
_OTHER = {"transforms": "normalized_transforms", "normalized_transforms": "transforms"}


def check_augmentation(augment: Augment, shape: tuple[int, ...], num_classes: int, loss: nn.Module | None) -> None:
    """Run the transforms of ``augment`` on random images, as in training; no random number generator changes.

    Args:
        augment: the augmentation.
        shape: channels, height and width of the images.
        num_classes: number of classes.
        loss: the loss to try on mixed images; None for a classifier with its own training step.

    Raises:
        InputError: a transform fails or changes the form of an image, or the loss fails for mixed images.
        Exception: any exception from the user's code.
    """
    try:
        augment, loss = copy.deepcopy((augment, loss))
    except Exception:  # a user's transform may contain an open file or a generator
        return
    pixels = torch.randint(256, (_IMAGES, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    values = pixels.float() / 64 - 2
    with isolate_rng(include_cuda=False):
        _check_transforms(as_modules(augment.transforms), "transforms", pixels)
        _check_transforms(as_modules(augment.normalized_transforms), "normalized_transforms", values)
        if augment.mix is not None:
            _check_mixing(augment, values, num_classes, loss)


def _check_transforms(transforms: list[nn.Module], option: str, images: Tensor) -> None:
    for image in images:
        result, last = image, ""
        for transform in transforms:
            try:
                changed = transform(result)
            except Exception as error:
                message = library_message(error)
                raise InputError(_failure(transform, option, result, message)) from error
            last = name_of(transform) if form(changed) != form(result) else last
            result = changed
        if form(result) != form(image):
            raise InputError(_change(option, last, image, result))


def _failure(transform: nn.Module, option: str, image: Tensor, message: str) -> str:
    name, hint = name_of(transform), ""
    if isinstance(transform, (v2.CutMix, v2.MixUp)):
        hint = f": it mixes two images, so write data.augment.mix: {name}"
    elif isinstance(transform, v2.Normalize):
        hint = ": remove it, because the images are normalized afterwards"
    elif _accepts(transform, image.byte() if image.is_floating_point() else image.float()):
        hint = f": list it under data.augment.{_OTHER[option]}"
    return f"data.augment.{option}: {name} fails on an image of the form {form(image)}{hint} ({message})"


def _accepts(transform: nn.Module, image: Tensor) -> bool:
    try:
        return form(transform(image)) == form(image)
    except Exception:  # a transform may raise anything
        return False


def _change(option: str, name: str, image: Tensor, result: Any) -> str:
    hint = "remove it"
    if isinstance(result, Tensor) and result.shape[1:] == image.shape[1:]:
        same_type = result.dtype == image.dtype
        hint = f"let it return {len(image)} channels" if same_type else "images are converted and normalized afterwards"
    elif isinstance(result, Tensor):
        hint = f"let it, or a transform after it, return {image.shape[-2]}x{image.shape[-1]} pixels"
    return f"data.augment.{option}: {name} turns {form(image)} into {form(result)}: {hint}"


def _check_mixing(augment: Augment, images: Tensor, num_classes: int, loss: nn.Module | None) -> None:
    labels = torch.arange(len(images)) % num_classes
    for mix in as_modules(augment.mix):
        if type(mix).__module__.startswith("torchvision.") and not isinstance(mix, (v2.CutMix, v2.MixUp)):
            name = name_of(mix)
            raise InputError(f"data.augment.mix: {name} does not mix images: list it under data.augment.transforms")
        try:
            _, targets = mixed(mix, images, labels, num_classes, seed=0)
        except Exception as error:
            message = library_message(error)
            raise InputError(
                f"data.augment.mix: {name_of(mix)} fails on images and targets (N, {num_classes}) ({message})"
            ) from error
        if loss is None:
            continue
        try:
            value = loss_of(loss, torch.zeros_like(targets, requires_grad=True), targets)
        except Exception as error:
            message = library_message(error)
            name = name_of_loss(loss)
            raise InputError(f"model.loss: {name} fails for the targets of mixed images ({message})") from error
        if not isinstance(value, Tensor) or value.ndim:
            raise InputError(f"model.loss: {name_of_loss(loss)} returns no scalar for the targets of mixed images")

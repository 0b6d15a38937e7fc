"""Apply transforms to one image after another, each image with its own random numbers."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn
from torchvision.transforms import v2

from cifar_cnn.augmentations.functions import Transforms, as_modules, name_of
from cifar_cnn.augmentations.grouped import in_groups
from cifar_cnn.base.errors import InputError

_CALL = (v2.Compose, v2.Lambda, v2.RandomApply, v2.RandomChoice, v2.RandomOrder)  # these call the user's functions


def transformed(transforms: Transforms, images: Tensor, seeds: Tensor) -> Tensor:
    """Apply transforms in turn to each image.

    Before each transform of an image, the generators of torch (CPU), Python and NumPy are seeded, so that the result
    depends only on the image and its seed. Afterwards, the state of the generators is restored.

    Args:
        transforms: one or more, called with one image (C, H, W); None returns the images unchanged.
        images: (N, C, H, W), on the CPU.
        seeds: int64, (N,), 0 or more.

    Raises:
        InputError: the last transform returns an image of another shape or dtype.
    """
    modules = as_modules(transforms)
    if not modules:
        return images
    result: list[Any] = list(images)
    with isolate_rng(include_cuda=False):
        for place, transform in enumerate(modules):
            own_seeds = (seeds + place).tolist()
            result = in_groups(transform, result, own_seeds) or _one_by_one(transform, result, own_seeds)
    for image, changed in zip(images, result, strict=True):
        if not isinstance(changed, Tensor) or changed.shape != image.shape or changed.dtype != image.dtype:
            names = ", ".join(map(name_of, modules))
            raise InputError(
                f"data.augment: {names} must return an image like the given one, {form(image)}, not {form(changed)}"
            )
    return torch.stack(result)


def _one_by_one(transform: nn.Module, images: Sequence[Any], seeds: Sequence[int]) -> list[Any]:
    only_torch = type(transform).__module__.startswith("torchvision.transforms.v2.") and not isinstance(
        transform, _CALL
    )
    result = []
    for image, seed in zip(images, seeds, strict=True):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed takes far longer: it also seeds each GPU
        if not only_torch:
            random.seed(seed)
            np.random.seed(seed % 2**32)
        result.append(transform(image))
    return result


def form(image: object) -> str:
    """Describe an image for messages, such as ``uint8 (3, 32, 32)``."""
    if not isinstance(image, Tensor):
        return type(image).__name__
    return f"{str(image.dtype).removeprefix('torch.')} {tuple(image.shape)}"

"""Apply transforms to one image after another, each with random numbers of its own."""

import random
from collections.abc import Sequence

import numpy as np
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn

from cifar_cnn.augmentations.functions import Transforms, as_modules, name_of
from cifar_cnn.base.errors import InputError


def transformed(transforms: Transforms, images: Tensor, seeds: Tensor) -> Tensor:
    """Apply transforms in turn to each image.

    Before each image, the generators of torch (CPU), Python and NumPy are seeded, so that the result for an image
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
    with isolate_rng(include_cuda=False):
        return torch.stack([_one(modules, *each) for each in zip(images, seeds.tolist(), strict=True)])


def _one(transforms: Sequence[nn.Module], image: Tensor, seed: int) -> Tensor:
    torch.default_generator.manual_seed(
        seed
    )  # torch.manual_seed would also seed each GPU, which takes 50 times as long
    random.seed(seed)
    np.random.seed(seed % 2**32)
    result = image
    for transform in transforms:
        result = transform(result)
    if not isinstance(result, Tensor) or result.shape != image.shape or result.dtype != image.dtype:
        raise InputError(_changed(transforms, image, result))
    return result


def _changed(transforms: Sequence[nn.Module], image: Tensor, result: object) -> str:
    names = ", ".join(map(name_of, transforms))
    return f"data.augment: {names} must return an image like the given one, {form(image)}, not {form(result)}"


def form(image: object) -> str:
    """Describe an image for messages, such as ``uint8 (3, 32, 32)``."""
    if not isinstance(image, Tensor):
        return type(image).__name__
    return f"{str(image.dtype).removeprefix('torch.')} {tuple(image.shape)}"

"""Mix the images of a batch in pairs, with targets that are probabilities: torchvision's MixUp and CutMix."""

from typing import TypeAlias

import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms import v2

from cifar_cnn.augmentations.functions import as_modules, name_of
from cifar_cnn.base.errors import InputError

# Because of the first type, a bare class name in a config means torchvision's class.
Mixing: TypeAlias = list[v2.Transform | nn.Module] | v2.Transform | nn.Module | None


def mixed(mix: Mixing, images: Tensor, labels: Tensor, num_classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Mix the images of a batch with a transform that is drawn from ``mix``.

    The random numbers depend only on ``seed``, which all processes share in a step. torchvision's transforms mix each
    image with the one before it in their input. Here, an image's partner is the image half a batch away, so that the
    pairs are the same for any number of processes with an even number of images each.

    Args:
        mix: one or more modules of (images, targets), such as torchvision's MixUp; None returns images and labels.
        images: floats, (N, C, H, W).
        labels: int64, (N,).
        num_classes: number of classes.
        seed: seed of the random numbers; 0 or more.

    Returns:
        The images, and their targets: probabilities, float32, (N, num_classes).

    Raises:
        InputError: a transform returns values of other shapes.
    """
    transforms = as_modules(mix)
    if not transforms:
        return images, labels
    n = len(labels)
    targets = functional.one_hot(labels, num_classes).float()
    partners = (torch.arange(n, device=labels.device) + n // 2) % max(n, 1)
    pairs = torch.stack([partners, torch.arange(n, device=labels.device)], 1).flatten()
    with isolate_rng(include_cuda=images.is_cuda):
        torch.manual_seed(seed)
        transform = transforms[int(torch.randint(len(transforms), ()))]
        result = transform(images[pairs], targets[pairs])
    shapes = [getattr(each, "shape", None) for each in result] if isinstance(result, (tuple, list)) else []
    if shapes != [images[pairs].shape, targets[pairs].shape]:
        raise InputError(
            f"data.augment.mix: {name_of(transform)} must return images and targets (N, {num_classes}) of the shapes "
            "that it is called with"
        )
    return result[0][1::2], result[1][1::2]

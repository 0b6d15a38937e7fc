"""Random choices of images: the same whenever seed and labels are the same."""

import torch
from torch import Tensor


def random_order(n: int, seed: int = 0) -> Tensor:
    """The numbers from 0 to ``n`` - 1 in a random order that depends on ``seed`` alone: int64, (n,).

    The first of these numbers are a random sample of ``n`` images. The first images as stored are not a random sample:
    image folders are sorted by class.
    """
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def stratified_choice(labels: Tensor, classes: int, size: int, seed: int) -> Tensor:
    """Choose images at random, with each class's share in proportion to its size.

    If the shares are not whole numbers, the classes with the largest remainders get one more image (the Hare quota), so
    that exactly ``size`` images are chosen. The last image of a class is chosen only if no other class has a remainder.

    Args:
        labels: int64, (N,).
        classes: number of classes.
        size: number of images to choose, below N.
        seed: the choice depends on it and the labels alone.

    Returns:
        bool, (N,): the chosen images.
    """
    n = len(labels)
    counts = torch.bincount(labels, minlength=classes)
    exact = counts.double() * size / n
    share = exact.floor().long()
    remainder = exact - share
    remainder_order = torch.argsort(remainder - (counts - share == 1).double(), descending=True, stable=True)
    share[remainder_order[: size - int(share.sum())]] += 1

    shuffled = random_order(n, seed)
    chosen = torch.zeros(n, dtype=torch.bool)
    for label, number in enumerate(share.tolist()):
        chosen[shuffled[labels[shuffled] == label][:number]] = True
    return chosen

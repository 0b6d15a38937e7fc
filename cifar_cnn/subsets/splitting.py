"""Random choices of images that depend only on the seed and the labels."""

import torch
from torch import Tensor


def random_order(n: int, seed: int = 0) -> Tensor:
    """A random permutation of 0 to ``n`` - 1 that depends only on ``seed``: int64, (n,).

    Its first entries are a random sample of ``n`` images. The first stored images are not, because image folders are
    sorted by class.
    """
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def stratified_choice(labels: Tensor, classes: int, size: int, seed: int) -> Tensor:
    """Choose images at random, from each class in proportion to its size.

    If these numbers are not whole, the classes with the largest remainders get one more image (largest remainder
    method), so that exactly ``size`` images are chosen. The last image of a class is chosen only if no other class has
    a remainder.

    Args:
        labels: int64, (N,).
        classes: number of classes.
        size: number of images to choose, below N.
        seed: seed of the choice.

    Returns:
        bool, (N,); True for the chosen images.
    """
    n = len(labels)
    counts = torch.bincount(labels, minlength=classes)
    exact = counts.double() * size / n
    share = exact.floor().long()
    remainder = exact - share
    left = counts - share
    last = (left == 1).double() + 2 * (left == 0)  # an empty class has none to give
    remainder_order = torch.argsort(remainder - last, descending=True, stable=True)
    share[remainder_order[: size - int(share.sum())]] += 1

    shuffled = random_order(n, seed)
    chosen = torch.zeros(n, dtype=torch.bool)
    for label, number in enumerate(share.tolist()):
        chosen[shuffled[labels[shuffled] == label][:number]] = True
    return chosen

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

    return _of_each_class(labels, share.tolist(), seed)


def stratified_fold(labels: Tensor, fold: int, folds: int, seed: int) -> Tensor:
    """Choose one of ``folds`` parts of about equal size that together contain each image once.

    The parts differ by at most one image, in total and in each class.

    Args:
        labels: int64, (N,).
        fold: index of the part, from 0.
        folds: number of parts.
        seed: seed of the division; the same for all its parts.

    Returns:
        bool, (N,); True for the chosen images.
    """
    shuffled = random_order(len(labels), seed)
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    chosen[by_class[fold::folds]] = True
    return chosen


def same_per_class(labels: Tensor, classes: int, number: int, seed: int) -> Tensor:
    """Choose ``number`` images of each class at random, or all of a class that has fewer.

    Returns:
        bool, (N,); True for the chosen images.
    """
    return _of_each_class(labels, [number] * classes, seed)


def _of_each_class(labels: Tensor, numbers: list[int], seed: int) -> Tensor:
    """Choose a number of images of each class at random, or all of a class that has fewer: bool, (N,)."""
    shuffled = random_order(len(labels), seed)
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label, number in enumerate(numbers):
        chosen[shuffled[labels[shuffled] == label][:number]] = True
    return chosen

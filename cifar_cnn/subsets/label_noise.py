"""Wrong labels, for experiments on learning from them."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.generators import generator
from cifar_cnn.subsets.splitting import stratified_choice


def symmetric_noise(labels: Tensor, classes: int, fraction: float, seed: int) -> Tensor:
    """Replace a fraction of the labels, in each class, by one of the other classes, each with the same probability.

    Args:
        labels: int64, (N,).
        classes: number of classes, at least 2.
        fraction: from 0 to 1; the number of replaced labels is rounded.
        seed: seed of the choice.

    Returns:
        int64, (N,).
    """
    replaced = _choice(labels, classes, fraction, seed)
    shift = torch.randint(1, classes, labels.shape, generator=generator(seed, 2))
    return torch.where(replaced, (labels + shift) % classes, labels)


def pair_noise(
    labels: Tensor, class_names: Sequence[str], fraction: float, seed: int, pairs: Mapping[str, str]
) -> Tensor:
    """Replace a fraction of the labels of some classes, each class by another one (asymmetric noise).

    Source: Patrini et al., Making Deep Neural Networks Robust to Label Noise (2017), with the pairs truck to
    automobile, bird to airplane, deer to horse, and cat to dog and back.

    Args:
        labels: int64, (N,).
        class_names: one name per class.
        fraction: of the labels of the classes in ``pairs``, from 0 to 1; their number is rounded.
        seed: seed of the choice.
        pairs: the class that replaces a class, by their names.

    Returns:
        int64, (N,).

    Raises:
        InputError: a name is not the name of a class, or a pair replaces a class by itself.
    """
    for name in (*pairs, *pairs.values()):
        if name not in class_names:
            raise InputError(f"label_noise_pairs: there is no class {name!r}; the classes are {', '.join(class_names)}")
    if same := [name for name, other in pairs.items() if name == other]:
        raise InputError(f"label_noise_pairs replaces {same[0]} by itself: name another class")
    other = torch.arange(len(class_names))
    for name, replacement in pairs.items():
        other[class_names.index(name)] = class_names.index(replacement)
    noisy = labels.clone()
    of_pairs = other[labels] != labels
    chosen = _choice(labels[of_pairs], len(class_names), fraction, seed)
    noisy[of_pairs] = torch.where(chosen, other[labels[of_pairs]], labels[of_pairs])
    return noisy


def _choice(labels: Tensor, classes: int, fraction: float, seed: int) -> Tensor:
    # Not the seed itself, because it may have chosen the validation images.
    return stratified_choice(labels, classes, round(fraction * len(labels)), generator(seed, 1).initial_seed())

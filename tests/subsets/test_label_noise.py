import pytest
import torch

from cifar_cnn.base.errors import InputError
from cifar_cnn.subsets.label_noise import pair_noise, symmetric_noise

LABELS = torch.arange(9000) % 3
NAMES = ("cat", "dog", "truck")


def test_symmetric_noise_changes_the_fraction_of_each_class_evenly() -> None:
    noisy = symmetric_noise(LABELS, 3, 0.4, seed=0)
    matrix = torch.bincount(3 * LABELS + noisy, minlength=9).reshape(3, 3)
    assert matrix.diagonal().tolist() == [1800, 1800, 1800]
    others = matrix[~torch.eye(3, dtype=torch.bool)].double()
    assert others.sum() == 3600
    assert (others - 600).abs().max() < 4 * (1200 * 0.5 * 0.5) ** 0.5  # binomial: 4 standard deviations
    assert torch.equal(noisy, symmetric_noise(LABELS, 3, 0.4, seed=0))
    assert not torch.equal(noisy, symmetric_noise(LABELS, 3, 0.4, seed=1))


def test_no_fraction_changes_nothing_and_all_changes_everything() -> None:
    assert torch.equal(symmetric_noise(LABELS, 3, 0.0, seed=0), LABELS)
    assert (symmetric_noise(LABELS, 3, 1.0, seed=0) != LABELS).all()


def test_pair_noise_replaces_only_the_given_classes() -> None:
    noisy = pair_noise(LABELS, NAMES, 0.1, 0, {"cat": "dog", "dog": "cat"})
    matrix = torch.bincount(3 * LABELS + noisy, minlength=9).reshape(3, 3)
    assert matrix.tolist() == [[2700, 300, 0], [300, 2700, 0], [0, 0, 3000]]


@pytest.mark.parametrize(
    ("pairs", "message"),
    [({"cat": "bus"}, "there is no class 'bus'; the classes are cat, dog, truck"), ({"cat": "cat"}, "by itself")],
)
def test_impossible_pairs_are_refused(pairs: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        pair_noise(LABELS, NAMES, 0.1, 0, pairs)

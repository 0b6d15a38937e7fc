import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cifar_cnn.base.errors import InputError
from cifar_cnn.subsets.splitting import same_per_class, stratified_choice, stratified_fold
from cifar_cnn.subsets.subset import Subset


def labels_of(counts: list[int]) -> torch.Tensor:
    return torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])


SOME_COUNTS = st.lists(st.integers(0, 30), min_size=2, max_size=6).filter(lambda counts: sum(counts) > 1)


@settings(deadline=None, derandomize=True)
@given(SOME_COUNTS, st.data())
def test_split_is_a_partition_with_each_class_in_proportion(counts: list[int], data: st.DataObject) -> None:
    labels, names = labels_of(counts), tuple(map(str, counts))
    n = len(labels)
    val_size = data.draw(st.integers(0, n - 1))
    validates = stratified_choice(labels, len(counts), val_size, seed=3)
    assert int(validates.sum()) == val_size
    for label, count in enumerate(counts):
        assert abs(int((labels[validates] == label).sum()) - count * val_size / n) < 1
    if set(labels.tolist()) == set(labels[~validates].tolist()):  # otherwise a class has no training image
        chosen = Subset(val_size, seed=3).split(labels, names)
        assert chosen.val.tolist() == torch.nonzero(validates)[:, 0].tolist()
        assert chosen.train.tolist() == torch.nonzero(~validates)[:, 0].tolist()
        assert torch.equal(chosen.labels, labels[chosen.train])


def test_split_of_single_images_takes_none_from_an_empty_class() -> None:
    with pytest.raises(InputError, match=r"val_size 1 of 2 images leaves no training image of [ab]:"):
        Subset(1, seed=3).split(torch.tensor([1, 2]), ("empty", "a", "b"))


def test_split_depends_only_on_the_seed() -> None:
    labels, names = torch.arange(200) % 10, tuple("abcdefghij")
    first, same, other = (Subset(50, seed).split(labels, names).val for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_a_fraction_validates_as_the_number_does() -> None:
    labels, names = torch.arange(200) % 10, tuple("abcdefghij")
    one, other = (Subset(size).split(labels, names).val for size in (0.25, 50))
    assert torch.equal(one, other)


@pytest.mark.parametrize("val_size", [20, 21])
def test_split_that_leaves_nothing_is_refused(val_size: int) -> None:
    with pytest.raises(InputError, match="val_size must be from 0 to 19 for 20 training images"):
        Subset(val_size).split(torch.arange(20) % 10, tuple("abcdefghij"))


@settings(deadline=None, derandomize=True)
@given(SOME_COUNTS, st.integers(2, 5))
def test_folds_hold_each_image_once_and_each_class_evenly(counts: list[int], folds: int) -> None:
    labels = labels_of(counts)
    parts = torch.stack([stratified_fold(labels, fold, folds, seed=1) for fold in range(folds)])
    assert parts.sum(0).eq(1).all()
    for chosen in (torch.ones(len(labels), dtype=torch.bool), *(labels == label for label in range(len(counts)))):
        sizes = parts[:, chosen].sum(1)
        assert sizes.max() - sizes.min() <= 1


def test_the_same_number_of_each_class_is_chosen() -> None:
    labels = labels_of([5, 0, 2, 30])
    chosen = same_per_class(labels, 4, 3, seed=0)
    assert labels[chosen].bincount(minlength=4).tolist() == [3, 0, 2, 3]
    assert not torch.equal(chosen, same_per_class(labels, 4, 3, seed=1))

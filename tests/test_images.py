from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cifar_cnn.data import ImageSet
from cifar_cnn.data.images import channel_mean_std, stratified_split
from cifar_cnn.errors import InputError


@settings(deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 30), min_size=2, max_size=6).filter(lambda counts: sum(counts) > 1), st.data())
def test_split_is_a_partition_with_each_class_in_proportion(counts: list[int], data: st.DataObject) -> None:
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    n = len(labels)
    val_size = data.draw(st.integers(0, n - 1))
    # Each image holds its own number, so that it can be recognised.
    images = torch.arange(n, dtype=torch.uint8).reshape(n, 1, 1, 1)
    train, val = stratified_split(ImageSet(images, labels, tuple(map(str, counts))), val_size, seed=3)
    assert len(val) == val_size
    assert sorted(torch.cat([train.images, val.images]).flatten().tolist()) == list(range(n))
    for part in (train, val):
        assert torch.equal(part.labels, labels[part.images.flatten().long()])
    for label, count in enumerate(counts):
        assert abs(int((val.labels == label).sum()) - count * val_size / n) < 1


def test_split_depends_on_the_seed_alone(make_images: Callable[..., ImageSet]) -> None:
    image_set = make_images(200)
    first, same, other = (stratified_split(image_set, 50, seed)[1].images for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("val_size", [-1, 20, 21])
def test_split_that_leaves_nothing_is_refused(make_images: Callable[..., ImageSet], val_size: int) -> None:
    with pytest.raises(InputError, match="val_size must be from 0 to 19 for 20 training images"):
        stratified_split(make_images(20), val_size, 0)


def test_channel_mean_std_equals_that_of_the_float_images(make_images: Callable[..., ImageSet]) -> None:
    images = make_images(50).images
    images[:, 1] //= 3
    mean, std = channel_mean_std(images)
    unit = images.double() / 255
    torch.testing.assert_close(torch.tensor(mean), unit.mean((0, 2, 3)).float())
    torch.testing.assert_close(torch.tensor(std), unit.std((0, 2, 3), correction=0).float())

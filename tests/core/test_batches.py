from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Any

import pytest
import torch
from torch import Tensor

from cifar_cnn.base.errors import InputError
from cifar_cnn.data import ImageSet
from cifar_cnn.data.batches import Batch, EvalBatches, TrainBatches

MakeImages = Callable[..., ImageSet]


def rows(batch: Batch) -> list[tuple]:
    """The pixels, the label and the random draws of each image in a training batch."""
    assert batch.draws is not None
    values: list[Tensor] = [batch.images.flatten(1), batch.labels[:, None], batch.draws.mirrored[:, None]]
    values += [batch.draws.offset, batch.draws.cutout]
    return [tuple(row) for row in torch.cat([value.double() for value in values], 1).tolist()]


def test_each_epoch_has_every_image_once_in_a_different_order(make_images: MakeImages) -> None:
    image_set = make_images(50)
    epochs = []
    for epoch in (0, 1):
        batches = TrainBatches(image_set, 8, seed=0, epoch=partial(int, epoch), drop_last=False)
        epochs.append(torch.cat([batch.images for batch in batches]))
        assert len(batches) == 7
    for images in epochs:
        assert sorted(map(tuple, images.flatten(1).tolist())) == sorted(
            map(tuple, image_set.images.flatten(1).tolist())
        )
    assert not torch.equal(*epochs)


def test_order_and_augmentation_depend_only_on_seed_epoch_and_step(make_images: MakeImages) -> None:
    def epoch(seed: int, number: int) -> list[list[tuple]]:
        return [rows(batch) for batch in TrainBatches(make_images(50), 8, seed, epoch=lambda: number)]

    torch.manual_seed(1)
    first = epoch(0, 3)
    torch.manual_seed(2)
    torch.rand(100)
    assert epoch(0, 3) == first
    assert epoch(0, 4) != first
    assert epoch(1, 3) != first
    assert epoch(1, 2) != first


@pytest.mark.parametrize("world_size", [2, 4])
@pytest.mark.parametrize("drop_last", [True, False])
def test_several_processes_together_see_the_images_of_one(
    make_images: MakeImages, world_size: int, drop_last: bool
) -> None:
    def epoch(batch_size: int, rank: int = 0, world: int = 1) -> list[list[tuple]]:
        batches = TrainBatches(make_images(52), batch_size, 0, lambda: 0, drop_last, rank, world)
        return [rows(batch) for batch in batches]

    alone = epoch(16)
    shares = [epoch(16 // world_size, rank, world_size) for rank in range(world_size)]
    assert [sorted(chain(*step)) for step in zip(*shares, strict=True)] == [sorted(step) for step in alone]


def test_processes_have_equal_shares_of_every_step(make_images: MakeImages) -> None:
    shares = [TrainBatches(make_images(101), 25, 0, lambda: 0, False, rank, 2) for rank in range(2)]
    assert [[len(batch.labels) for batch in share] for share in shares] == [[25, 25], [25, 25]]
    shares = [TrainBatches(make_images(107), 25, 0, lambda: 0, False, rank, 2) for rank in range(2)]
    assert [[len(batch.labels) for batch in share] for share in shares] == [[25, 25, 3], [25, 25, 3]]
    with pytest.raises(InputError, match="1 training images are too few for 2 processes"):
        TrainBatches(make_images(1), 25, 0, lambda: 0, world_size=2)


def test_fewer_images_than_a_batch_are_one_batch(make_images: MakeImages) -> None:
    batches = TrainBatches(make_images(10), 64, 0, lambda: 0)
    assert [len(batch.labels) for batch in batches] == [10]


@pytest.mark.parametrize("stop", [0, 1, 3, 6])
def test_resuming_within_an_epoch_gives_the_remaining_batches(make_images: MakeImages, stop: int) -> None:
    def batches() -> TrainBatches:
        return TrainBatches(make_images(50), 8, 0, epoch=lambda: 2)

    whole = [rows(batch) for batch in batches()]
    interrupted = batches()
    iterator = iter(interrupted)
    for _ in range(stop):
        next(iterator)
    resumed = batches()
    resumed.load_state_dict(interrupted.state_dict())
    assert [rows(batch) for batch in resumed] == (whole[stop:] if stop else whole)
    # The epochs after the resumed one are complete.
    assert [rows(batch) for batch in resumed] == whole


def test_fixed_batches_are_the_same_in_every_epoch_and_resume_within_an_epoch(make_images: MakeImages) -> None:
    def batches(epoch: int) -> TrainBatches:
        return TrainBatches(make_images(50), 8, 0, lambda: epoch, fixed=True)

    first = [batch.images for batch in batches(0)]
    assert torch.equal(first[0], next(iter(TrainBatches(make_images(50), 8, 0, int))).images)
    assert all(batch.draws is None for batch in batches(0))
    assert all(map(torch.equal, first, (batch.images for batch in batches(3))))
    interrupted = batches(3)
    iterator = iter(interrupted)
    next(iterator), next(iterator)
    resumed = batches(3)
    resumed.load_state_dict(interrupted.state_dict())
    assert all(map(torch.equal, first[2:], (batch.images for batch in resumed)))


def test_a_position_in_another_epoch_is_ignored(make_images: MakeImages) -> None:
    batches = TrainBatches(make_images(50), 8, 0, epoch=lambda: 3)
    batches.load_state_dict({"epoch": 2, "step": 4})
    assert len(list(batches)) == 6


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_evaluation_sees_every_image_once_in_equally_many_steps(make_images: MakeImages, world_size: int) -> None:
    image_set = make_images(37)
    shares = [list(EvalBatches(image_set, 6, rank, world_size)) for rank in range(world_size)]
    assert {len(share) for share in shares} == {len(EvalBatches(image_set, 6, 0, world_size))}
    images = torch.cat([batch.images for share in shares for batch in share])
    assert sorted(map(tuple, images.flatten(1).tolist())) == sorted(map(tuple, image_set.images.flatten(1).tolist()))


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_steps_of_an_evaluation_are_the_same_in_every_run_and_number_of_processes(
    make_images: MakeImages, world_size: int
) -> None:
    def steps(batch_size: int, world_size: int = 1) -> list[list[int]]:
        shares = [EvalBatches(make_images(38), batch_size, rank, world_size) for rank in range(world_size)]
        steps = zip(*shares, strict=True)
        return [sorted(chain(*(batch.indices.tolist() for batch in step))) for step in steps]

    torch.manual_seed(world_size)
    assert steps(12 // world_size, world_size) == steps(12)


def test_the_first_batch_of_an_evaluation_is_a_sample_of_all_classes(make_images: MakeImages) -> None:
    images = make_images(1000)
    by_class = ImageSet(images.images, images.labels.sort().values, images.class_names)
    counts = torch.bincount(next(iter(EvalBatches(by_class, 200))).labels, minlength=10)
    assert counts.min() >= 10  # of 20 expected


@pytest.mark.parametrize("loader", [EvalBatches, partial(TrainBatches, seed=0, epoch=int)])
def test_a_batch_holds_the_indices_of_its_images(make_images: MakeImages, loader: Callable[..., Any]) -> None:
    image_set = make_images(38)
    for batch in loader(image_set, 6, rank=1, world_size=2):
        assert batch.indices.dtype == torch.int64
        assert torch.equal(batch.images, image_set.images[batch.indices])
        assert torch.equal(batch.labels, image_set.labels[batch.indices])


@pytest.mark.parametrize("world_size", [1, 2])
def test_alternating_flip_shows_each_image_both_ways_in_two_epochs(make_images: MakeImages, world_size: int) -> None:
    image_set = make_images(400, size=2)

    def mirrored(epoch: int, seed: int = 0) -> dict[tuple, bool]:
        result: dict[tuple, bool] = {}
        for rank in range(world_size):
            loader = TrainBatches(image_set, 8, seed, lambda: epoch, True, rank, world_size, alternating_flip=True)
            for batch in loader:
                assert batch.draws is not None
                images = map(tuple, batch.images.flatten(1).tolist())
                result.update(zip(images, batch.draws.mirrored.tolist(), strict=True))
        return result

    first = mirrored(0)
    assert len(first) == 400
    assert 160 < sum(first.values()) < 240
    assert mirrored(1) == {image: not value for image, value in first.items()}
    assert mirrored(2) == first
    assert mirrored(0, seed=1) != first

"""Mixed images: their pairs, their targets, and the losses and accuracies of these targets."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms import v2

from cifar_cnn import Augment, CrossEntropyLoss
from cifar_cnn.augmentations import class_titles, largest_class, loss_of, mixed
from cifar_cnn.base.errors import InputError
from cifar_cnn.data.augment import draw
from cifar_cnn.data.batches import Batch
from cifar_cnn.data.preparation import Preparation

N, CLASSES = 8, 5


@pytest.fixture
def images() -> Tensor:
    return torch.rand(N, 3, 6, 6, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def labels() -> Tensor:
    return torch.tensor([0, 1, 2, 3, 0, 2, 4, 1])


def nll(logits: Tensor, target: Tensor) -> Tensor:
    """A loss that accepts only class indices."""
    return -logits.log_softmax(1)[torch.arange(len(target)), target].mean()


def test_mixup_is_the_weighted_mean_of_an_image_and_the_one_half_a_batch_away(images: Tensor, labels: Tensor) -> None:
    result, targets = mixed(v2.MixUp(alpha=1.0), images, labels, CLASSES, seed=5)
    one_hot = functional.one_hot(labels, CLASSES).float()
    torch.manual_seed(5)
    torch.randint(1, ())  # the choice of the transform
    weight = float(torch.distributions.Beta(torch.tensor([1.0]), torch.tensor([1.0])).sample(()))
    torch.testing.assert_close(result, weight * images + (1 - weight) * images.roll(N // 2, 0))
    torch.testing.assert_close(targets, weight * one_hot + (1 - weight) * one_hot.roll(N // 2, 0))
    assert targets[0].tolist() == [1, 0, 0, 0, 0]  # mixed with an image of the same class


def test_cutmix_gives_targets_by_area(labels: Tensor) -> None:
    pixels = torch.arange(N).float()[:, None, None, None].expand(N, 3, 6, 6)
    for seed in range(5):
        result, targets = mixed(v2.CutMix(), pixels, labels, CLASSES, seed)
        for index in range(N):
            share = (result[index, 0] == index).float().mean()
            partner = functional.one_hot(labels[(index + N // 2) % N], CLASSES)
            expected = share * functional.one_hot(labels[index], CLASSES) + (1 - share) * partner
            torch.testing.assert_close(targets[index], expected)


@pytest.mark.parametrize("world_size", [2, 4])
def test_pairs_do_not_depend_on_the_number_of_processes(images: Tensor, labels: Tensor, world_size: int) -> None:
    both = [v2.MixUp(), v2.CutMix()]
    whole = mixed(both, images, labels, CLASSES, seed=3)
    for rank in range(world_size):
        share = slice(rank, None, world_size)
        part = mixed(both, images[share], labels[share], CLASSES, seed=3)
        assert all(torch.equal(one, each[share]) for one, each in zip(part, whole, strict=True))


def test_one_of_several_is_drawn_for_each_batch(images: Tensor, labels: Tensor) -> None:
    state = torch.get_rng_state()
    results = [mixed([v2.CutMix(), v2.MixUp()], images, labels, CLASSES, seed)[0] for seed in range(20)]
    cut = sum(bool(torch.isin(each, images).all()) for each in results)
    assert 4 < cut < 16
    assert torch.equal(torch.get_rng_state(), state)
    assert mixed(v2.CutMix(), images[:1], labels[:1], CLASSES, 0)[1].tolist() == [[1, 0, 0, 0, 0]]
    assert mixed(None, images, labels, CLASSES, 0) == (images, labels)


def test_a_batch_is_mixed_last(images: Tensor, labels: Tensor) -> None:
    pixels = (images * 255).byte()
    draws = draw(N, torch.Generator().manual_seed(0))
    statistics = ((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    batches = [
        Preparation(Augment(crop=1, cutout=2, mix=mix), statistics, CLASSES)(Batch(pixels, labels, draws))
        for mix in (None, v2.MixUp())
    ]
    expected, targets = mixed(v2.MixUp(), batches[0].images, labels, CLASSES, draws.batch_seed)
    assert torch.equal(batches[1].images, expected)
    assert torch.equal(batches[1].labels, targets)
    plain = Preparation(Augment(mix=v2.MixUp()), statistics, CLASSES)(Batch(pixels, labels))
    assert torch.equal(plain.labels, labels)  # in evaluation


@pytest.mark.parametrize("mix", [v2.MixUp(alpha=1.0), v2.CutMix()])
def test_a_loss_of_class_indices_is_the_weighted_sum_for_both_classes(
    images: Tensor, labels: Tensor, mix: nn.Module
) -> None:
    logits = torch.randn(N, CLASSES, generator=torch.Generator().manual_seed(2))
    for seed in range(5):
        _, targets = mixed(mix, images, labels, CLASSES, seed)
        expected = functional.cross_entropy(logits, targets)
        torch.testing.assert_close(loss_of(nll, logits, targets), expected)
        torch.testing.assert_close(loss_of(CrossEntropyLoss(), logits, targets), expected)
        torch.testing.assert_close(loss_of(nn.CrossEntropyLoss(), logits.double(), targets), expected.double())
        smooth = functional.cross_entropy(logits, targets, label_smoothing=0.1)
        torch.testing.assert_close(loss_of(CrossEntropyLoss(label_smoothing=0.1), logits, targets), smooth)
    assert torch.equal(loss_of(nll, logits, labels), nll(logits, labels))


def test_a_loss_of_class_indices_needs_pairs_with_common_weights() -> None:
    targets = torch.tensor([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0]])
    with pytest.raises(InputError, match="the loss accepts only class indices"):
        loss_of(nll, torch.zeros(2, 3), targets)


def test_classes_and_titles_of_targets(labels: Tensor) -> None:
    targets = torch.tensor([[0.3, 0.7, 0.0], [1.0, 0.0, 0.0]])
    assert largest_class(targets).tolist() == [1, 0]
    assert torch.equal(largest_class(labels), labels)
    assert class_titles(targets, ["a", "b", "c"]) == ["b + a", "a"]
    assert class_titles(torch.tensor([2, 0]), ["a", "b", "c"]) == ["c", "a"]

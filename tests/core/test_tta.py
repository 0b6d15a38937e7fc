import pytest
import torch
from torch import Tensor, nn

from cifar_cnn.base.errors import InputError
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.tta import TTA, logits_with_tta, views


@pytest.fixture
def images() -> Tensor:
    return torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("tta", "count"), [("none", 1), ("flip", 2), ("flip_shift", 6)])
def test_the_first_view_is_the_image_and_the_weights_sum_to_one(images: Tensor, tta: TTA, count: int) -> None:
    weighted = views(images, tta)
    assert len(weighted) == count
    assert torch.equal(weighted[0][1], images)
    assert sum(weight for weight, _ in weighted) == pytest.approx(1)


def test_the_average_is_that_of_the_source_written_out(images: Tensor) -> None:
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10))

    def mirrored(x: Tensor) -> Tensor:
        return (network(x) + network(x.flip(3))) / 2

    padded = nn.functional.pad(images, (1, 1, 1, 1), mode="reflect")
    expected = mirrored(images) / 2 + (mirrored(padded[:, :, 0:8, 0:8]) + mirrored(padded[:, :, 2:10, 2:10])) / 4
    logits, plain = logits_with_tta(network, images, "flip_shift")
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(plain, network(images))
    torch.testing.assert_close(logits_with_tta(network, images, "flip")[0], mirrored(images))
    assert torch.equal(*logits_with_tta(network, images, "none"))


def test_a_network_invariant_to_mirroring_gives_the_same_logits(images: Tensor) -> None:
    def network(x: Tensor) -> Tensor:
        return x.mean(3).amax(2)  # invariant to a flip, but not to a shift

    torch.testing.assert_close(*logits_with_tta(network, images, "flip"))


def test_the_least_confident_images_alone_are_averaged(images: Tensor) -> None:
    torch.manual_seed(1)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 10))
    many = torch.cat([images, 3 * images])
    passes: list[int] = []

    def counted(x: Tensor) -> Tensor:
        passes.append(len(x))
        return network(x)

    averaged, plain = logits_with_tta(network, many, "flip_shift")
    some, same = logits_with_tta(counted, many, "flip_shift", 0.4)
    assert passes == [6, *[3] * 5]  # 0.4 of 6, rounded up
    assert torch.equal(same, plain)
    rows = plain.softmax(1).amax(1).argsort()[:3]
    expected = plain.clone()
    expected[rows] = averaged[rows]
    torch.testing.assert_close(some, expected)
    assert torch.equal(*logits_with_tta(network, many, "none", 0.4))


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.5])
def test_a_fraction_is_above_0_and_at_most_1(fraction: float) -> None:
    with pytest.raises(InputError, match="tta_fraction must be above 0 and at most 1"):
        ImageClassifier(nn.Flatten(), tta_fraction=fraction)

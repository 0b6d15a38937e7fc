import pytest
import torch
from torch import Tensor, nn

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
        return x.mean(3).amax(2)  # of a flip, not of a shift

    torch.testing.assert_close(*logits_with_tta(network, images, "flip"))

import pytest
import torch
from torch import Tensor

from cifar_cnn.augmentations import cutout, jitter
from cifar_cnn.data.augment import Augment, draw

N, SIZE = 64, 12


@pytest.fixture
def images() -> Tensor:
    return torch.randint(0, 256, (N, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", [1, 4, 5])
def test_cutout_blanks_the_square_and_nothing_else(images: Tensor, size: int) -> None:
    draws = draw(N, torch.Generator().manual_seed(4))
    expected = images.clone()
    for image, (down, across) in zip(expected, draws.cutout.tolist(), strict=True):
        top, left = (int(place * SIZE) - size // 2 for place in (down, across))
        image[:, max(top, 0) : max(top + size, 0), max(left, 0) : max(left + size, 0)] = 0
    assert torch.equal(cutout(images, draws.cutout, size), expected)


@pytest.mark.parametrize("size", [3, 4, SIZE])
def test_cutout_inside_blanks_the_whole_square_anywhere_in_the_image(images: Tensor, size: int) -> None:
    place = torch.tensor([[0.0, 0.0], [0.999, 0.999], *torch.rand(N - 2, 2).tolist()])
    result = cutout(images + 1.0, place, size, inside=True)
    assert (result == 0).sum((1, 2, 3)).tolist() == [3 * size**2] * N
    assert (result[0, :, :size, :size] == 0).all()
    assert (result[1, :, -size:, -size:] == 0).all()


def test_jitter_shifts_each_image_and_then_scales_it() -> None:
    values = torch.randn(N, 3, SIZE, SIZE)
    draws = draw(N, torch.Generator().manual_seed(3))
    augment = Augment(brightness=0.14, contrast=0.13, cutout=4)
    shift, factor = ((2 * each - 1)[:, None, None, None] for each in draws.jitter.unbind(1))
    expected = (values + 0.14 * shift) * (1 + 0.13 * factor)
    torch.testing.assert_close(jitter(values, draws.jitter, 0.14, 0.13), expected)
    torch.testing.assert_close(augment.values(values, draws), cutout(expected, draws.cutout, 4))
    assert shift.min() < -0.9 < 0.9 < shift.max()
    half = jitter(values.bfloat16(), draws.jitter.bfloat16(), 0.14, 0.13)
    assert half.dtype == torch.bfloat16

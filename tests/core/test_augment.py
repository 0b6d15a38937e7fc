import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as per_image

from cifar_cnn.base.errors import InputError
from cifar_cnn.data.augment import Augment, PaddingMode, crop, draw, flip, normalize, resize

N, SIZE = 64, 12
TORCHVISION_MODE = {"reflect": "reflect", "zeros": "constant", "replicate": "edge"}


@pytest.fixture
def images() -> Tensor:
    return torch.randint(0, 256, (N, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_flip_mirrors_only_the_chosen_images(images: Tensor) -> None:
    mirrored = torch.arange(N) % 3 == 0
    expected = [per_image.hflip(image) if chosen else image for image, chosen in zip(images, mirrored, strict=True)]
    assert torch.equal(flip(images, mirrored), torch.stack(expected))


@pytest.mark.parametrize("mode", TORCHVISION_MODE)
@pytest.mark.parametrize("padding", [1, 4])
def test_crop_equals_pad_and_crop_of_each_image(images: Tensor, mode: PaddingMode, padding: int) -> None:
    draws = draw(N, torch.Generator().manual_seed(2))
    expected = []
    for image, (down, across) in zip(images, draws.offset.tolist(), strict=True):
        top, left = (int(place * (2 * padding + 1)) for place in (down, across))
        padded = per_image.pad(image, [padding] * 4, padding_mode=TORCHVISION_MODE[mode])
        expected.append(per_image.crop(padded, top, left, SIZE, SIZE))
    assert torch.equal(crop(images, draws.offset, padding, mode), torch.stack(expected))


def test_crop_offsets_are_equally_frequent() -> None:
    # The position of a white pixel, initially in the middle, shows the offset.
    images = torch.zeros(9000, 1, 5, 5, dtype=torch.uint8)
    images[:, :, 2, 2] = 1
    cropped = crop(images, draw(9000, torch.Generator().manual_seed(3)).offset, 1, "zeros")
    counts = cropped.sum((0, 1))[1:4, 1:4]
    assert counts.sum() == 9000
    assert counts.min() > 850
    assert counts.max() < 1150


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_draws_crop_within_the_image(images: Tensor, dtype: torch.dtype) -> None:
    offset = torch.full((N, 2), 1 - 2**-24)
    assert (offset.to(dtype) == 1).all()
    assert torch.equal(crop(images, offset.to(dtype), 4), crop(images, offset, 4))


def test_reflection_needs_images_wider_than_the_padding() -> None:
    with pytest.raises(InputError, match="reflect padding of 4 needs images of over 4 pixels; they have 4"):
        crop(torch.zeros(1, 3, 4, 4), torch.zeros(1, 2), 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_normalize_equals_torchvision_on_each_image(images: Tensor, dtype: torch.dtype) -> None:
    mean, std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    expected = torch.stack([per_image.normalize(image.float() / 255, list(mean), list(std)) for image in images])
    result = normalize(images, torch.tensor(mean), torch.tensor(std), dtype)
    assert result.dtype == dtype
    torch.testing.assert_close(result, expected.to(dtype), rtol=1e-2 if dtype == torch.bfloat16 else 1e-5, atol=2e-6)


def test_draws_do_not_depend_on_their_use(images: Tensor) -> None:
    first, second = (draw(N, torch.Generator().manual_seed(5)) for _ in range(2))
    plain, both = Augment(flip=True), Augment(flip=True, crop=4, cutout=4)
    both.values(both.pixels(images, first), first)
    assert torch.equal(plain.pixels(images, first), plain.pixels(images, second))
    assert 20 < first.mirrored.sum() < 44


def test_no_augmentation_changes_nothing(images: Tensor) -> None:
    draws = draw(N, torch.Generator())
    none = Augment()
    assert torch.equal(none.values(none.pixels(images, draws), draws), images)


def test_impossible_values_are_refused() -> None:
    with pytest.raises(InputError, match="0 or more"):
        Augment(crop=-1)
    for brightness, contrast in ((-0.1, 0.0), (0.0, -0.1), (0.0, 1.1)):
        with pytest.raises(InputError, match="brightness must be 0 or more, and contrast 0 to 1"):
            Augment(brightness=brightness, contrast=contrast)


def test_jitter_draws_leave_those_of_the_other_augmentations_as_they_were() -> None:
    draws = draw(N, torch.Generator().manual_seed(5))
    uniform = torch.rand(N, 5, generator=torch.Generator().manual_seed(5))
    assert torch.equal(draws.mirrored, uniform[:, 0] < 0.5)
    assert torch.equal(torch.cat([draws.offset, draws.cutout], 1), uniform[:, 1:])


def test_resize_equals_pillows() -> None:
    images = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    expected = [np.asarray(picture.resize((24, 24), Image.Resampling.BILINEAR)) for picture in pictures]
    difference = resize(images, 24).permute(0, 2, 3, 1).int() - torch.from_numpy(np.stack(expected)).int()
    assert difference.abs().max() <= 1
    assert resize(images, 32) is images


@pytest.mark.parametrize("mode", TORCHVISION_MODE)
def test_mirroring_in_the_crop_equals_mirroring_after_it(images: Tensor, mode: PaddingMode) -> None:
    draws = draw(N, torch.Generator().manual_seed(7))
    expected = flip(crop(images, draws.offset, 3, mode), draws.mirrored)
    assert torch.equal(crop(images, draws.offset, 3, mode, draws.mirrored), expected)


@pytest.mark.parametrize("padding", [2, 4])
def test_a_batch_equals_a_slow_loop_over_its_images(images: Tensor, padding: int) -> None:
    augment = Augment(flip=True, crop=padding, cutout=3)
    draws = draw(N, torch.Generator().manual_seed(6))
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.25])
    scale, shift = 1 / (255 * std), -mean / std
    expected = []
    for i in range(N):
        down, across = draws.offset[i].tolist()
        image = per_image.pad(images[i], [padding] * 4, padding_mode="reflect")
        image = per_image.crop(image, int(down * (2 * padding + 1)), int(across * (2 * padding + 1)), SIZE, SIZE)
        image = per_image.hflip(image) if draws.mirrored[i] else image
        values = torch.addcmul(shift[:, None, None], image.float(), scale[:, None, None])
        row, column = (int(place * SIZE) for place in draws.cutout[i].tolist())
        for y in range(max(row - 1, 0), min(row + 2, SIZE)):
            for x in range(max(column - 1, 0), min(column + 2, SIZE)):
                values[:, y, x] = 0
        expected.append(values)
    result = augment.values(normalize(augment.pixels(images, draws), mean, std), draws)
    assert torch.equal(result, torch.stack(expected))

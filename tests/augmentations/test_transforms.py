"""Transforms of single images: their input, their random draws, and the forms in which users can give their own."""

import random

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from cifar_cnn import Augment, CIFAR10DataModule
from cifar_cnn.augmentations import FunctionTransform, transformed
from cifar_cnn.augmentations.grouped import in_groups
from cifar_cnn.base.errors import InputError
from cifar_cnn.checks.augmentation import check_augmentation
from cifar_cnn.data.augment import draw
from cifar_cnn.data.batches import Batch
from cifar_cnn.data.preparation import Preparation
from cifar_cnn.parts.recording import record

N = 6
MEAN_STD = ((0.5, 0.4, 0.3), (0.2, 0.3, 0.25))


class Noise:
    """Adds numbers from each of the generators that a transform may use."""

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def __call__(self, image: Tensor) -> Tensor:
        drawn = torch.rand(()).item() + random.random() + np.random.random()
        return (image.float() + self.scale * drawn).byte()


def darker(image: Tensor, by: int = 2) -> Tensor:
    return image // by


@pytest.fixture
def images() -> Tensor:
    return torch.randint(0, 256, (N, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_the_draws_of_an_image_depend_on_its_seed_alone(images: Tensor) -> None:
    transforms = [v2.RandAugment(), v2.ColorJitter(0.4, 0.4, 0.4, 0.1), Noise(20), v2.RandomErasing()]
    seeds = torch.tensor([3, 2**61, 5, 3, 9, 0])
    whole = transformed(transforms, images, seeds)
    assert torch.equal(whole[1::2], transformed(transforms, images[1::2], seeds[1::2]))
    same = transformed(transforms, images[:1].expand(2, -1, -1, -1), torch.tensor([3, 3]))
    assert torch.equal(same[0], same[1])
    assert torch.equal(same[0], whole[0])
    assert not torch.equal(whole, images)


@pytest.mark.parametrize(
    "transform",
    [
        v2.TrivialAugmentWide(),
        v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10, interpolation=v2.InterpolationMode.BILINEAR),
        v2.RandAugment(num_ops=3, fill=[10, 20, 30]),
        v2.ColorJitter(0.4, 0.4),
    ],
)
def test_an_image_equals_that_of_torchvision_after_the_same_seed(transform: nn.Module) -> None:
    images = torch.randint(0, 256, (100, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    expected = []
    for seed, image in enumerate(images):
        torch.manual_seed(seed)
        expected.append(transform(image))
    assert torch.equal(transformed(transform, images, torch.arange(100)), torch.stack(expected))
    assert (in_groups(transform, list(images), range(100)) is None) is isinstance(transform, v2.ColorJitter)


def test_the_surrounding_generators_are_left_as_they_were(images: Tensor) -> None:
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    expected = torch.rand(2).tolist(), random.random(), np.random.random()
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    transformed(Noise(), images, torch.arange(N))
    check_augmentation(Augment(transforms=Noise(), mix=v2.CutMix()), (3, 12, 12), 10, nn.CrossEntropyLoss())
    assert (torch.rand(2).tolist(), random.random(), np.random.random()) == expected


def test_transforms_see_pixels_and_normalized_values(images: Tensor) -> None:
    seen: list[Tensor] = []

    def look(image: Tensor) -> Tensor:
        seen.append(image)
        return image

    augment = Augment(crop=2, flip=True, cutout=4, transforms=look, normalized_transforms=look)
    draws = draw(N, torch.Generator().manual_seed(0))
    prepared = Preparation(augment, MEAN_STD, 10)(Batch(images, torch.arange(N), draws))
    assert [each.dtype for each in seen] == [torch.uint8] * N + [torch.float32] * N
    assert torch.equal(torch.stack(seen[:N]), Augment(crop=2, flip=True).pixels(images, draws))
    assert torch.equal(torch.stack(seen[N:]), prepared.images)
    assert (prepared.images == 0).any()  # cutout comes before these transforms


def test_functions_and_objects_are_transforms(images: Tensor) -> None:
    by_path = FunctionTransform(f"{__name__}.darker", {"by": 4})
    assert torch.equal(transformed([by_path, darker], images, torch.arange(N)), images // 8)
    assert isinstance(FunctionTransform(f"{__name__}.Noise", {"scale": 2.0}).call, Noise)
    with pytest.raises(InputError, match="cannot be called: got an unexpected keyword argument 'to'"):
        FunctionTransform(darker, {"to": 4})
    with pytest.raises(InputError, match="a transform must be a module, a function or a callable object, not 5"):
        Augment(transforms=5)


def test_python_objects_are_recorded_as_a_config_names_them() -> None:
    augment = Augment(transforms=[v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10), Noise(3.0), darker], mix=v2.CutMix())
    recorded = CIFAR10DataModule(augment=augment).hparams["augment"]
    first, noise, function = recorded["transforms"]
    assert first["init_args"].pop("interpolation").lower() == "nearest"  # an enum until torchvision 0.28
    assert first["init_args"] == {"policy": "CIFAR10", "fill": None}
    assert noise == {"class_path": f"{__name__}.Noise", "init_args": {"scale": 3.0}}
    assert function == f"{__name__}.darker"
    assert recorded["mix"]["init_args"]["alpha"] == 1.0
    assert record(v2.RandomErasing())["init_args"]["p"] == 0.5
    unknown = CIFAR10DataModule(augment=Augment(transforms=lambda image: image))
    assert "lambda" in unknown.not_recorded["augment"]


class Shrinking(nn.Module):
    def forward(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return images[..., ::2, ::2], targets


@pytest.mark.parametrize(
    ("option", "transform", "message"),
    [
        ("transforms", v2.Grayscale(), "Grayscale turns uint8 (3, 12, 12) into uint8 (1, 12, 12): let it return 3"),
        ("transforms", v2.Resize(8), "or a transform after it, return 12x12 pixels"),
        (
            "transforms",
            v2.ToDtype(torch.float32, scale=True),
            "ToDtype turns uint8 (3, 12, 12) into float32 (3, 12, 12)",
        ),
        ("transforms", v2.Normalize([0.5], [0.5]), "remove it, because the images are normalized afterwards"),
        ("transforms", v2.CutMix(), "write data.augment.mix: CutMix"),
        ("mix", v2.RandAugment(), "RandAugment does not mix images: list it under data.augment.transforms"),
        ("transforms", v2.ToPILImage(), "ToPILImage turns uint8 (3, 12, 12) into Image: remove it"),
        (
            "transforms",
            v2.RandAugment(magnitude=55),
            "RandAugment fails on an image of the form uint8 (3, 12, 12) (Ind",
        ),
        ("normalized_transforms", v2.JPEG(50), "JPEG fails on an image of the form float32 (3, 12, 12): list it under"),
        ("mix", Shrinking(), "Shrinking must return images and targets (N, 10) of the shapes"),
        ("mix", v2.CutMix(num_classes=7), "CutMix fails on images and targets (N, 10) (ValueError: When passing 2D"),
    ],
)
def test_a_transform_that_cannot_be_used_is_refused_before_training(
    option: str, transform: nn.Module, message: str
) -> None:
    with pytest.raises(InputError) as error:
        check_augmentation(Augment(**{option: transform}), (3, 12, 12), 10, nn.CrossEntropyLoss())  # type: ignore[arg-type]
    assert message in str(error.value)
    assert str(error.value).startswith(f"data.augment.{option}: ")


def test_a_later_transform_may_restore_the_size(images: Tensor) -> None:
    pair = [v2.Resize(16), v2.RandomCrop(12)]
    check_augmentation(Augment(transforms=pair), (3, 12, 12), 10, None)
    assert transformed(pair, images, torch.arange(N)).shape == images.shape
    with pytest.raises(InputError, match=r"Resize must return an image like the given one, uint8 \(3, 12, 12\)"):
        transformed(v2.Resize(16), images, torch.arange(N))


def test_an_own_exception_is_not_reworded() -> None:
    def fails(image: Tensor) -> Tensor:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        check_augmentation(Augment(transforms=fails), (3, 12, 12), 10, None)

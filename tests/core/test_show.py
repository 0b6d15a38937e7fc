import numpy as np
import pytest
import torch

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.figures import COLUMNS, PlainFigure, draw_images
from cifar_cnn.data import Augment, CIFAR10DataModule, Shapes


@pytest.fixture
def data() -> CIFAR10DataModule:
    return CIFAR10DataModule(Shapes(100, 20), val_size=20, augment=Augment(crop=2, cutout=8))


def test_a_sample_of_a_split_is_shown_with_its_classes(data: CIFAR10DataModule) -> None:
    figure = data.show("val", n=10)
    axes = [each for each in figure.axes if each.images]
    assert len(axes) == 10
    assert len(figure.axes) == 2 * COLUMNS
    images = data.image_set("val")
    shown = np.asarray(axes[0].images[0].get_array())
    (place,) = [i for i, image in enumerate(images.images) if np.array_equal(shown, image.permute(1, 2, 0).numpy())]
    assert axes[0].get_title() == images.class_names[images.labels[place]]
    again = data.show("val", n=10)
    assert np.array_equal(np.asarray(again.axes[0].images[0].get_array()), shown)
    assert isinstance(figure, PlainFigure)
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_augmented_images_are_shown_as_training_sees_them(data: CIFAR10DataModule) -> None:
    plain, seen = (data.show(n=8, augmented=augmented) for augmented in (False, True))
    differs = [
        not np.array_equal(np.asarray(a.images[0].get_array()), np.asarray(b.images[0].get_array()))
        for a, b in zip(plain.axes, seen.axes, strict=True)
    ]
    assert all(differs)
    # Cutout blanks with the mean color.
    mean = (255 * np.array(data.mean_std[0])).round()
    pixels = np.asarray(seen.axes[0].images[0].get_array()).reshape(-1, 3)
    assert (np.abs(pixels - mean).max(1) <= 1).sum() >= 16
    data.augment = Augment()
    same = data.show(n=8, augmented=True)
    assert np.array_equal(
        np.asarray(same.axes[0].images[0].get_array()), np.asarray(plain.axes[0].images[0].get_array())
    )


def test_other_splits_and_gray_images(data: CIFAR10DataModule) -> None:
    with pytest.raises(InputError, match="split must be 'train', 'val' or 'test'"):
        data.show("training")  # type: ignore[arg-type]
    figure = draw_images(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), ["a $b$ name that is much too long"])
    assert figure.axes[0].get_title() == "a $b$ name that…"

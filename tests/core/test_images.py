from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from cifar_cnn.base.channel_statistics import channel_mean_std
from cifar_cnn.base.errors import InputError
from cifar_cnn.data import ImageSet


def test_an_image_set_gives_images_with_their_labels(make_images: Callable[..., ImageSet]) -> None:
    image_set = make_images(12)
    image, label = image_set[-1]
    assert torch.equal(image, image_set.images[11])
    assert type(label) is int
    assert label == 1
    assert [label for _, label in image_set] == image_set.labels.tolist()
    images, labels = next(iter(DataLoader(image_set, batch_size=12)))
    assert torch.equal(images, image_set.images)
    assert torch.equal(labels, image_set.labels)


@pytest.mark.parametrize("labels", [np.array([0, 1, 1], np.uint8), torch.tensor([0, 1, 1]).int(), [0, 1, 1]])
def test_integer_labels_and_arrays_are_converted(labels: Any) -> None:
    image_set = ImageSet(np.zeros((3, 3, 8, 8), np.uint8), labels, ["a", "b"])  # type: ignore[arg-type]
    assert image_set.labels.dtype == torch.int64
    assert image_set.labels.tolist() == [0, 1, 1]
    assert image_set.images.dtype == torch.uint8
    assert image_set.class_names == ("a", "b")


BYTES, LABELS = torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.tensor([0, 1])


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (BYTES / 255, LABELS, r"these are float32: write \(images \* 255\).round\(\).to\(torch.uint8\)"),
        (BYTES.int(), LABELS, r"these are int32: write images.to\(torch.uint8\)"),
        (BYTES.permute(0, 2, 3, 1), LABELS, r"these have \(2, 8, 8, 3\): write images.permute\(0, 3, 1, 2\)"),
        (BYTES[:, 0], LABELS, r"these have \(2, 8, 8\): write images\[:, None\]"),
        (BYTES, LABELS + 1, "indices of its 2 class names, 0 to 1; these go from 1 to 2"),
        (BYTES, LABELS - 1, "these go from -1 to 0"),
        (BYTES, LABELS[:1], r"2 images have labels of shape \(1,\)"),
        (BYTES, torch.eye(2), r"not \(2, 2\): write labels.argmax\(1\)"),
        (BYTES, LABELS.float(), "integer labels, not float32"),
        (BYTES, ["cat", "dog"], "labels of an ImageSet must be a tensor or array of numbers"),
    ],
)
def test_other_content_of_an_image_set_is_refused(images: Any, labels: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        ImageSet(images, labels, ("a", "b"))
    assert "\n" not in str(caught.value)


def test_channel_mean_std_equals_that_of_the_float_images(make_images: Callable[..., ImageSet]) -> None:
    images = make_images(50).images
    images[:, 1] //= 3
    mean, std = channel_mean_std(images)
    unit = images.double() / 255
    torch.testing.assert_close(torch.tensor(mean), unit.mean((0, 2, 3)).float())
    torch.testing.assert_close(torch.tensor(std), unit.std((0, 2, 3), correction=0).float())
    images[:, 1] = 0
    assert channel_mean_std(images)[1][1] == 1

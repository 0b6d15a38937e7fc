from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cifar_cnn import CIFAR10DataModule, ImageClassifier, Run, Shapes, SimpleCNN, Trainer
from cifar_cnn.analysis.export import input_shape
from cifar_cnn.base.errors import InputError
from cifar_cnn.base.visible import visible
from cifar_cnn.data import ImageSet, Source


class Channels(Source):
    """Shapes in gray, or with a fourth channel."""

    class_names = Shapes.class_names

    def __init__(self, channels: int) -> None:
        self.channels = channels

    def load(self, split: Any) -> ImageSet:
        shapes = Shapes(60, 20).load(split)
        images = shapes.images[:, [0, 1, 2, 0]][:, : self.channels]
        return ImageSet(images, shapes.labels, shapes.class_names)


def trained(channels: int, folder: Path) -> Run:
    data = CIFAR10DataModule(Channels(channels), 20, val_size=20)
    trainer = Trainer(max_epochs=1, enable_progress_bar=False, report=False, default_root_dir=folder)
    trainer.fit(ImageClassifier(SimpleCNN((8, 8, 8), in_channels=channels)), data)
    data.show(augmented=True)
    return trainer.run


def test_gray_images_are_trained_on_reported_and_classified(tmp_path: Path) -> None:
    run = trained(1, tmp_path)
    assert "not possible" not in run.report().read_text(encoding="utf-8")
    image = Shapes(60, 20).load("test").images[0].permute(1, 2, 0).numpy()
    Image.fromarray(image).save("image.png")
    gray = np.array(Image.open("image.png").convert("L"))
    expected = run.logits(torch.from_numpy(gray)[None]).softmax(1)[0]
    name, probability = run.classify("image.png")[0]
    assert (name, probability) == (run.class_names[int(expected.argmax())], pytest.approx(float(expected.max())))
    assert run.grad_cam(gray[..., None]).axes
    assert run.corruptions(5)["images"] == 5
    assert input_shape(run.trained) == "gray (N, 1, 32, 32)"


def test_four_channels_are_trained_on_and_reported_but_not_read_from_files(tmp_path: Path) -> None:
    run = trained(4, tmp_path)
    assert "not possible" not in run.report().read_text(encoding="utf-8")
    assert run.logits(run.images("test").images).shape == (20, 10)
    with pytest.raises(InputError, match="image files are read as RGB or gray; the network takes images of 4 channels"):
        run.classify("image.png")
    with pytest.raises(InputError, match="corruptions exist for RGB and gray images; these have 4 channels"):
        run.corruptions()


def test_a_network_for_other_channels_is_named(tmp_path: Path) -> None:
    trainer = Trainer(max_epochs=1, enable_progress_bar=False, logger=False)
    message = "SimpleCNN was made for 3 channels; the images have 1: set in_channels of the backbone"
    with pytest.raises(InputError, match=message):
        trainer.fit(ImageClassifier(SimpleCNN((2, 2, 2))), CIFAR10DataModule(Channels(1), 20, val_size=20))


def test_any_number_of_channels_is_visible() -> None:
    images = torch.arange(5, dtype=torch.uint8)[:, None, None].expand(5, 2, 2)
    shown = [visible(images[:channels])[:, 0, 0].tolist() for channels in range(1, 6)]
    assert shown == [[0, 0, 0], [0, 1, 0], [0, 1, 2], [0, 1, 2], [0, 1, 2]]

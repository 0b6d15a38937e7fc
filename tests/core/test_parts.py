import enum
import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cifar_cnn.backbones import ResNet18, SimpleCNN, SpeedrunNet
from cifar_cnn.data import Augment
from cifar_cnn.losses import CrossEntropyLoss
from cifar_cnn.parts import NotRecordable, record


class Color(enum.Enum):
    RED = 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ((1, 2.5, "x", True), [1, 2.5, "x", True]),
        ({"a": Path("b")}, {"a": "b"}),
        (Color.RED, "RED"),
        (
            Augment(crop=4),
            {
                **{"crop": 4, "padding_mode": "reflect", "flip": False, "cutout": 0, "cutout_inside": False},
                **{"brightness": 0.0, "contrast": 0.0},
                **dict.fromkeys(("transforms", "normalized_transforms", "mix")),
            },
        ),
        (
            functools.partial(torch.optim.SGD, lr=0.5),
            {"class_path": "torch.optim.sgd.SGD", "init_args": {"lr": 0.5}},
        ),
        (torch.optim.SGD, "torch.optim.sgd.SGD"),
        (SimpleCNN(), {"class_path": "cifar_cnn.backbones.simple.SimpleCNN"}),
        (
            SimpleCNN((8, 8, 8), head="conv"),
            {
                "class_path": "cifar_cnn.backbones.simple.SimpleCNN",
                "init_args": {"channels": [8, 8, 8], "head": "conv"},
            },
        ),
        (
            ResNet18(3, stem_pool=True),
            {
                "class_path": "cifar_cnn.backbones.resnet.ResNet18",
                "init_args": {"num_classes": 3, "stem_pool": True},
            },
        ),
        (
            SpeedrunNet(logit_scale=0.5),
            {"class_path": "cifar_cnn.backbones.speedrun.SpeedrunNet", "init_args": {"logit_scale": 0.5}},
        ),
    ],
)
def test_parts_are_recorded_as_plain_data(value: Any, expected: Any) -> None:
    assert record(value) == expected


class Kept(nn.Module):
    """Stores its arguments as attributes of the same name."""

    def __init__(self, width: int, inner: nn.Module, scale: float = 1.0) -> None:
        super().__init__()
        self.width = width
        self.scale = scale
        self.inner = inner
        self.layer = nn.Linear(width, width)


class Lost(nn.Module):
    """Does not store its argument, which determines the network."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.layer = nn.Linear(width, 2)


class Changed(nn.Module):
    """Has an attribute with the argument's name but another value."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = 2 * scale


def test_an_object_is_recorded_by_its_attributes_if_they_rebuild_it() -> None:
    recorded = record(Kept(4, CrossEntropyLoss(label_smoothing=0.1), scale=2.0))
    assert recorded["class_path"] == f"{__name__}.Kept"
    arguments = recorded["init_args"]
    assert (arguments["width"], arguments["scale"]) == (4, 2.0)
    assert arguments["inner"]["init_args"]["label_smoothing"] == 0.1
    assert record(Lost()) == {"class_path": f"{__name__}.Lost"}


@pytest.mark.parametrize("part", [Lost(4), Changed(3.0), nn.Sequential(nn.Linear(2, 3)), lambda p: p])
def test_an_object_that_its_attributes_do_not_rebuild_is_not_recorded(part: Any) -> None:
    with pytest.raises(NotRecordable):
        record(part)


def test_recording_does_not_change_the_random_generators() -> None:
    part = Kept(4, nn.Identity())
    before = torch.get_rng_state()
    record(part)
    assert torch.equal(torch.get_rng_state(), before)

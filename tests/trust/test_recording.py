"""Configs and checkpoints record arguments from which the classes can be created again."""

import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn
from torchvision import models

from cifar_cnn.base.errors import InputError
from cifar_cnn.data import Augment
from cifar_cnn.trust import names as trust
from cifar_cnn.trust.recording import RecordingParser

OWN = """
import enum
import typing
import functools
import pathlib
import torch
from torch import nn
from torch.nn import functional as F

class Mode(enum.Enum):
    FAST = 1
    SLOW = 2

class Word(str, enum.Enum):
    A = "a"

def twice(x):
    return 2 * x

smooth = functools.partial(F.cross_entropy, label_smoothing=0.1)

class Block(nn.Module):
    def __init__(self, width: int, stride: int, norm=nn.BatchNorm2d) -> None: super().__init__()

class Net(nn.Linear):
    def __init__(
        self,
        norm=functools.partial(nn.LayerNorm, eps=1e-6),
        act=lambda x: x,
        layer: nn.Module = nn.PReLU(),
        block: type[nn.Module] = Block,
        made=nn.ReLU,
        factory: typing.Callable[..., nn.Module] = Block,
        function=twice,
        typed: typing.Callable = F.relu,
        scale: typing.Callable = twice,
        dtype: torch.dtype = torch.float32,
        other=torch.float64,
        mode: Mode = Mode.FAST,
        word: str = Word.A,
        path: pathlib.Path = pathlib.Path("a"),
        sizes: tuple[int, ...] = (1, 2),
        pair=(1, "2"),
        nested={"a": (1, 2)},
        number: float = 0.5,
        text: str = "1",
        nothing=None,
    ):
        super().__init__(3072, 10, dtype=dtype)
        self.given = {name: value for name, value in locals().items() if name not in ("self", "__class__")}

    def forward(self, x):
        return super().forward(x.flatten(1))

class Wide(Net):
    def __init__(self, **kwargs):
        kwargs.setdefault("number", 0.75)
        super().__init__(**kwargs)
"""


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module ``own_parts`` in the current folder."""
    Path("own_parts.py").write_text(OWN)
    monkeypatch.syspath_prepend(Path.cwd())
    yield __import__("own_parts")
    del sys.modules["own_parts"]


class Holder:
    """Holds a network."""

    def __init__(self, backbone: nn.Module) -> None:
        self.backbone = backbone


def recorded(*args: str) -> dict[str, Any]:
    """The recorded form of a command line's network."""
    with trust.import_policy(["own_parts"]), warnings.catch_warnings():
        warnings.simplefilter("error")
        parser = RecordingParser(exit_on_error=False)
        parser.add_class_arguments(Holder, "model", fail_untyped=False)
        config = parser.parse_args(list(args))
        trust.check_functions(config)
        return yaml.safe_load(parser.dump(config, skip_unset=False))["model"]


def rebuilt(record: dict[str, Any]) -> Any:
    with trust.import_policy(["own_parts"]):
        return trust.instantiate(Holder, record, {}).backbone


def test_defaults_that_are_not_text_are_not_recorded(own: Any) -> None:
    record = recorded("--model.backbone=own_parts.Net")
    arguments = record["backbone"]["init_args"]
    assert not {"norm", "act", "layer", "factory", "word", "nested"} & set(arguments)
    assert (arguments["number"], arguments["text"], arguments["mode"]) == (0.5, "1", "FAST")
    given = rebuilt(record).given
    defaults = dict(zip(given, own.Net.__init__.__defaults__, strict=True))
    assert given == defaults


def test_given_arguments_are_recorded(own: Any) -> None:
    given = rebuilt(
        recorded(
            "--model.backbone=own_parts.Net",
            *("--model.backbone.norm=[1, 2]", "--model.backbone.block=torch.nn.Linear", "--model.backbone.path=b"),
            *("--model.backbone.dtype=torch.float64", "--model.backbone.mode=SLOW", "--model.backbone.sizes=[3]"),
            "--model.backbone.typed=own_parts.twice",
        )
    ).given
    assert (given["norm"], given["block"], given["path"]) == ([1, 2], nn.Linear, Path("b"))
    assert (given["dtype"], given["mode"], given["sizes"]) == (torch.float64, own.Mode.SLOW, (3,))
    assert given["typed"] is own.twice


@pytest.mark.usefixtures("own")
def test_a_partial_as_loss_is_restored() -> None:
    spec = {"class_path": "cifar_cnn.parts.losses.FunctionLoss", "init_args": {"function": "own_parts.smooth"}}
    with trust.import_policy(["own_parts"]):
        loss: Any = trust.instantiate(Holder, {"backbone": spec}, {}).backbone
    assert loss.function.keywords == {"label_smoothing": 0.1}


@pytest.mark.usefixtures("own")
def test_arguments_passed_on_by_a_class_keep_its_defaults() -> None:
    assert rebuilt(recorded("--model.backbone=own_parts.Wide")).given["number"] == 0.75
    assert rebuilt(recorded("--model.backbone=own_parts.Wide", "--model.backbone.number=1.5")).given["number"] == 1.5


@pytest.mark.usefixtures("own")
def test_a_given_value_that_is_not_text_is_rejected() -> None:
    with trust.import_policy(["own_parts"]):
        parser = RecordingParser(exit_on_error=False)
        parser.add_class_arguments(Holder, "model", fail_untyped=False)
        spec = {"class_path": "own_parts.Net", "init_args": {"scale": lambda x: x}}
        config = parser.parse_object({"model": {"backbone": spec}})
        with pytest.raises(InputError, match=r"^scale: <function .*> cannot be recorded in the run's config"):
            parser.dump(config)


@pytest.mark.filterwarnings("ignore:.*initialization:FutureWarning")
def test_every_torchvision_classifier_is_recorded_and_rebuilt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    empty, shapes = torch.empty, {}
    monkeypatch.setattr(torch, "empty", lambda *args, **options: empty(*args, **{**options, "device": "meta"}))
    for name in [name for name in vars(nn.init) if name.endswith("_") and not name.startswith("_")]:
        monkeypatch.setattr(nn.init, name, lambda tensor, *args, **options: tensor)
    for name in models.list_models(module=models):
        record = recorded(f"--model.backbone=torchvision.models.{name}", "--model.backbone.num_classes=10")
        weights = rebuilt(record).state_dict()
        shapes[name] = next(value.shape for value in reversed(weights.values()) if value.ndim)
    assert len(shapes) >= 80
    assert {shape[0] for shape in shapes.values()} == {10}


class Chain:
    """Holds an augmentation."""

    def __init__(self, augment: Augment) -> None:
        self.augment = augment


def test_a_dataclass_that_holds_a_class_with_an_enum_is_recorded() -> None:
    parser = RecordingParser(exit_on_error=False)
    parser.add_class_arguments(Chain, "data", fail_untyped=False)
    config = parser.parse_args(["--data.augment.transforms=torchvision.transforms.RandAugment"])
    recorded = yaml.safe_load(parser.dump(config))["data"]["augment"]["transforms"]["init_args"]
    assert recorded["interpolation"] == "NEAREST"

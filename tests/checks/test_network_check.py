import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models import VisionTransformer, convnext_tiny, googlenet

import cifar_cnn.cli
from cifar_cnn.__main__ import main
from cifar_cnn.backbones import ResNet18, SimpleCNN
from cifar_cnn.base.errors import InputError
from cifar_cnn.checks.network import check_network
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.data import CIFAR10DataModule, ImageSet, Shapes, Source
from tests.conftest import CONFIGS, SMALL


def check(backbone: nn.Module, loss: Any = None, precision: str = "32-true", **data: Any) -> None:
    datamodule = CIFAR10DataModule(Shapes(40, 10), val_size=10, **data)
    check_network(ImageClassifier(backbone, loss), datamodule, precision)


def head(*layers: nn.Module) -> nn.Module:
    """A few layers, followed by a linear layer from 3 x 32 x 32 values to ten classes."""
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(3072, 10))


class Student(nn.Module):
    """The network of the first exercise, as students often write it."""

    def __init__(self, features: int = 3600, flatten: str = "x.flatten(1)", returns: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3)
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(features, 10)
        self.flatten = flatten
        self.returns = returns

    def forward(self, x: Tensor) -> Tensor | None:
        x = self.pool(self.conv1(x).relu())
        if self.flatten == "view":
            x = x.view(x.size(0), -1)
        elif self.flatten == "count":
            x = x.contiguous().view(-1, 2304)
        elif self.flatten == "mixed":
            x = x.contiguous().view(-1, 1800)
        else:
            x = x.flatten(1)
        x = self.fc1(x)
        return x if self.returns else None


class NoForward(nn.Module):
    pass


class Residual(nn.Module):
    """An addition of mismatched shapes, which is an error outside of any layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)


class Detached(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1)).detach()


class Pair(nn.Linear):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x.flatten(1)), x


class InList(nn.Module):
    """A network with layers that PyTorch does not register."""

    def __init__(self, trained: bool = True) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 1)
        self.layers = [nn.Sequential(nn.Flatten()), nn.Sequential(nn.Linear(3072, 10)).requires_grad_(trained)]

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for layer in self.layers:
            x = layer(x)
        return x


class InDict(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.parts = {"last": nn.Linear(3072, 10)}

    def forward(self, x: Tensor) -> Tensor:
        return self.parts["last"](x.flatten(1))


class InForward(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.Linear(3072, 10)(x.flatten(1))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "flatten size": (
        lambda: Student(4096),
        r"layer fc1 is Linear\(4096, 10\), but its input has 3600 features per image: write Linear\(3600, 10\) "
        r"\(the previous layer, MaxPool2d pool, outputs \(N, 16, 15, 15\)\) "
        r"\[test_network_check.py, line \d+: x = self.fc1",
    ),
    "no return": (lambda: Student(returns=False), "Student.forward returned None: end it with"),
    "view of channels_last": (lambda: Student(flatten="view"), r"write x.flatten\(1\) or x.reshape"),
    "view of a wrong count": (lambda: Student(flatten="count"), r"view\(-1, 2304\) does not fit the 3600 numbers"),
    "view that mixes images": (lambda: Student(1800, "mixed"), r"returned \(4, 10\): return one row per image"),
    "no forward": (NoForward, 'missing the required "forward" function'),
    "no flatten": (lambda: nn.Linear(3072, 10), r"its input has shape \(N, 3, 32, 32\): flatten it first"),
    "no flatten, other size": (lambda: nn.Sequential(nn.Linear(9, 10)), r"x.flatten\(1\) and write Linear\(3072, 10\)"),
    "channels": (lambda: head(nn.Conv2d(16, 3, 5, padding=2)), r"its input has 3 channels: write Conv2d\(3, 3, 5\)"),
    "convolution after flatten": (
        lambda: nn.Sequential(nn.Flatten(), nn.Conv2d(3, 9, 1)),
        r"layer 1 is Conv2d\(3, 9, 1\), but its input has shape \(N, 3072\) instead of \(N, channels, height, width\)",
    ),
    "kernel too large": (
        lambda: head(nn.AdaptiveAvgPool2d(2), nn.Conv2d(3, 9, 5)),
        "its input has only 2 x 2 pixels: pad",
    ),
    "nothing to pool": (
        lambda: head(nn.AdaptiveAvgPool2d(1), nn.MaxPool2d(2)),
        "its input has only 1 x 1 pixels: pool",
    ),
    "BatchNorm": (lambda: head(nn.BatchNorm2d(16)), r"its input has 3 channels: write BatchNorm2d\(3\)"),
    "BatchNorm2d of vectors": (lambda: nn.Sequential(nn.Flatten(), nn.BatchNorm2d(9)), r"write BatchNorm1d\(3072\)"),
    "BatchNorm1d of maps": (
        lambda: head(nn.BatchNorm1d(3)),
        r"its input has shape \(N, 3, 32, 32\): write BatchNorm2d\(3\)",
    ),
    "GroupNorm": (lambda: head(nn.GroupNorm(3, 9)), r"its input has 3 channels: write GroupNorm\(3, 3\)"),
    "groups": (lambda: head(nn.GroupNorm(2, 8)), "its input has 3 channels, which 2 groups do not divide"),
    "LayerNorm of channels": (lambda: head(nn.LayerNorm(3)), r"write GroupNorm\(1, 3\)"),
    "LayerNorm": (
        lambda: head(nn.Flatten(), nn.LayerNorm(9)),
        r"its input has shape \(N, 3072\): write LayerNorm\(3072\)",
    ),
    "dtype": (lambda: head().double(), "its weights are float64 and its input is float32"),
    "other layer": (
        lambda: head(nn.Unflatten(1, (2, 2))),
        r"Sequential fails in 0 \(Unflatten\), given \(N, 3, 32, 32\): RuntimeError: unflatten",
    ),
    "lazy": (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(10)), r"1 is LazyLinear, .*: write Linear\(3072, 10\)"),
    "maps": (lambda: nn.Conv2d(3, 10, 1), "pool or flatten these maps"),
    "extra dimensions": (lambda: nn.Conv2d(3, 10, 32), r"returned \(2, 10, 1, 1\): flatten it with  x.flatten\(1\)"),
    "classes": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 100)),
        r"the data has 10 classes, and layer 1 is Linear\(3072, 100\): write Linear\(3072, 10\)",
    ),
    "classes as an option": (lambda: SimpleCNN((4, 4, 4), num_classes=9), "see --model.backbone.num_classes"),
    "several outputs": (lambda: Pair(3072, 10), r"Pair returned a tuple of 2: return only the logits"),
    "auxiliary logits": (
        lambda: googlenet(num_classes=10, init_weights=False),
        "GoogLeNet also returns auxiliary logits: add --model.backbone.aux_logits false",
    ),
    "layers in a list": (
        InList,
        "in self.layers would not be trained, because it is a plain list: write self.layers =",
    ),
    "layers in a dict of a block": (
        lambda: nn.Sequential(InDict()),
        r"in self.parts of 0 would not be trained, because it is a plain dict: write self.parts = nn.ModuleDict",
    ),
    "layer made in forward": (
        InForward,
        r"Linear\(3072, 10\) runs but would not be trained, .*: create it in __init__",
    ),
    "larger images": (
        lambda: nn.Sequential(nn.Conv2d(3, 10, 40), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        "does not run on images of 32 x 32 pixels; it needs at least 40 x 40: add --data.source.image_size 40",
    ),
    "no gradient": (lambda: Detached(3072, 10), "no gradient can pass from the output of Detached"),
    "other image size": (
        lambda: VisionTransformer(64, 16, 1, 1, 8, 8, num_classes=10),
        "32 x 32: add --model.backbone.image_size 32",
    ),
    "other image size and patches": (
        lambda: VisionTransformer(56, 14, 1, 1, 8, 8, num_classes=10),
        "built for images of 56 x 56 pixels, but these have 32 x 32, which is not a multiple of its patch size of 14",
    ),
}


@pytest.mark.parametrize(("make", "message"), NETWORKS.values(), ids=NETWORKS)
def test_a_network_that_does_not_fit_is_explained(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check(make())


def test_a_backbone_whose_argument_has_no_type_is_one_line() -> None:
    model = ImageClassifier(head())
    del model.backbone
    model.backbone = "SimpleCNN"  # type: ignore[assignment]
    with pytest.raises(InputError, match="ImageClassifier: its backbone is 'SimpleCNN', not a network: add"):
        check_network(model, CIFAR10DataModule(Shapes(40, 10), val_size=10))


def test_frozen_layers_in_a_list_pass() -> None:
    check(InList(trained=False))


# The networks of torchvision that do not run on 32 x 32 pixels, and the message for each.
TORCHVISION = {
    "alexnet": "AlexNet does not run on images of 32 x 32 pixels; it needs at least 63 x 63: ",
    "googlenet": "add --model.backbone.aux_logits false",
    "inception_v3": "add --model.backbone.aux_logits false",
    "maxvit_t": "MaxVit does not run on images of 32 x 32 pixels; it needs at least 221 x 221: ",
    "vit_h_14": "but these have 32 x 32, which is not a multiple of its patch size of 14",
    "vit_b_32": "32 x 32: add --model.backbone.image_size 32",
}


SMALLEST = (
    *("convnext_tiny", "densenet121", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small"),
    *("regnet_x_400mf", "resnet18", "shufflenet_v2_x0_5", "squeezenet1_1", "swin_t", "swin_v2_t", "vgg11"),
)


def on_meta(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda *args, **options: function(*args, **{**options, "device": "meta"})


@pytest.mark.filterwarnings("ignore:.*initialization:FutureWarning")
def test_each_torchvision_network_runs_or_gets_one_line_of_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cifar_cnn.checks.network._MOST_NUMBERS", 0)  # compute only shapes
    datamodule = CIFAR10DataModule(Shapes(40, 10), val_size=10)
    said = {}
    names = [name for name in models.list_models(module=models) if name in TORCHVISION or name in SMALLEST]
    for name in names:
        with monkeypatch.context() as patch:
            patch.setattr(torch, "empty", on_meta(torch.empty))
            for init in [each for each in vars(nn.init) if each.endswith("_") and not each.startswith("_")]:
                patch.setattr(nn.init, init, lambda tensor, *args, **options: tensor)
            network = models.get_model(name, num_classes=10)
        try:
            check_network(ImageClassifier(network), datamodule)
        except InputError as error:
            said[name] = str(error)
    assert len(names) == len(TORCHVISION) + len(SMALLEST)
    assert said.keys() == TORCHVISION.keys()
    for name, line in TORCHVISION.items():
        assert line in said[name], said[name]


def _as_float(logits: Tensor, target: Tensor) -> Any:
    return 1.0


class Loss(nn.Module):
    """A loss that returns the value of a function."""

    def __init__(self, function: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, logits: Tensor, target: Tensor) -> Any:
        return self.function(logits, target)


LOSSES: dict[str, tuple[nn.Module, str]] = {
    "one number a sample": (nn.CrossEntropyLoss(reduction="none"), r"CrossEntropyLoss returned \(2,\): average it"),
    "no tensor": (Loss(_as_float), "Loss returned a float: return the tensor itself"),
    "None": (Loss(lambda logits, target: None), "Loss returned None: end it with a return"),
    "no gradient": (Loss(lambda logits, target: logits.detach().sum()), "no gradient can pass through Loss"),
    "other target": (nn.MSELoss(), r"MSELoss does not accept logits \(N, 10\) and classes \(N,\) of type int64: Runt"),
}


@pytest.mark.parametrize(("loss", "message"), LOSSES.values(), ids=LOSSES)
def test_a_loss_that_does_not_fit_is_explained(loss: nn.Module, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check(head(), loss)


def test_an_exception_in_user_code_is_not_changed() -> None:
    with pytest.raises(RuntimeError, match="The size of tensor a"):
        check(Residual())


class Noted(nn.Module):
    """Draws from all random generators, counts its calls, and prints."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.net = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(), nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4096, 10))

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        print("a line of a student who looks for a mistake")
        return self.net(x) * (1 + 0 * random.random() + 0 * np.random.rand())


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_check_changes_nothing_and_prints_nothing(
    device: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cifar_cnn.checks.network._MOST_NUMBERS", 0 if device == "meta" else 1e9)
    backbone = Noted()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
    capsys.readouterr()
    check(backbone)
    assert capsys.readouterr().out == ""
    assert backbone.count == 0
    assert backbone.training
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]  # type: ignore[index]


def test_a_network_that_the_meta_device_cannot_run_runs_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cifar_cnn.checks.network._MOST_NUMBERS", 0)

    class ByValue(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.flatten(1)) if x.max() > 0 else x

    check(ByValue(3072, 10))
    with pytest.raises(InputError, match="9 features"):
        check(nn.Sequential(nn.Flatten(), ByValue(3072, 9), nn.Linear(10, 10)))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true", "64-true"])
def test_networks_pass_in_each_precision(precision: str) -> None:
    for backbone in (ResNet18(), SimpleCNN((4, 4, 4), batch_norm=True), head()):
        check(backbone, precision=precision)


def test_other_memory_layouts_pass() -> None:
    check(VisionTransformer(32, 8, 1, 2, 16, 16, num_classes=10))
    check(convnext_tiny(num_classes=10))


def test_each_size_of_progressive_resizing_is_checked() -> None:
    check(Student())
    with pytest.raises(InputError, match=r"its input has 1936 features"):
        check(Student(), image_sizes=[(0.0, 24), (0.5, 32)])


def test_images_are_loaded_when_the_source_does_not_state_their_size() -> None:
    class Gray(Source):
        class_names = ("a", "b")

        def load(self, split: str) -> ImageSet:
            return ImageSet(torch.zeros(20, 3, 12, 10, dtype=torch.uint8), torch.arange(20) % 2, self.class_names)

    datamodule = CIFAR10DataModule(Gray(), val_size=2)
    with pytest.raises(InputError, match=r"its input has 360 features per image: write Linear\(360, 2\)"):
        check_network(ImageClassifier(nn.Sequential(nn.Flatten(), nn.Linear(9, 2)), num_classes=2), datamodule)


def test_a_subclass_that_overrides_a_step_is_not_checked() -> None:
    class Features(ImageClassifier):
        def forward(self, images: Tensor) -> Tensor:
            return self.backbone(images[:, 0])

    check_network(Features(nn.Linear(9, 9)), CIFAR10DataModule(Shapes(40, 10), val_size=10))


def _fit(*options: str) -> list[str]:
    return ["fit", "--config", str(CONFIGS / "quickstart.yaml"), *SMALL, *options]


def test_a_network_error_is_one_line_and_leaves_no_run_folder(capsys: pytest.CaptureFixture[str]) -> None:
    options = _fit("--model.backbone", "tests.checks.test_network_check.Student", "--model.backbone.features", "4096")
    assert cifar_cnn.cli.run(options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "cifar-cnn: error: model.backbone: layer fc1 is Linear(4096, 10), but its input has 3600 features"
    )
    assert not Path("lightning_logs").exists()


def test_an_exception_in_user_code_prints_only_the_lines_of_user_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        sys, "argv", ["cifar-cnn", *_fit("--model.backbone", "tests.checks.test_network_check.Residual")]
    )
    monkeypatch.setattr("signal.signal", lambda *args: None)
    monkeypatch.setenv("PYTHONSAFEPATH", "")
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    loading, first, *lines = capsys.readouterr().err.splitlines()
    assert loading == "Loading PyTorch and Lightning"
    assert first == "Traceback (most recent call last):"
    assert lines[0].startswith('  File "')
    assert "/test_network_check.py" in lines[0]
    assert lines[-1].startswith("RuntimeError: The size of tensor a (3) must match the size of tensor b (8)")
    assert len(lines) <= 4
    assert not Path("lightning_logs").exists()

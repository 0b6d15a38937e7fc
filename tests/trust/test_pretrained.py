from pathlib import Path
from typing import Any

import pytest
import torch
from timm.models import _builder
from torch import nn
from torchvision.models import ResNet18_Weights, WeightsEnum, get_model

from cifar_cnn.base.errors import InputError
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.cli import run
from cifar_cnn.runs.checkpoints import load_trained
from cifar_cnn.trust import names as trust
from cifar_cnn.trust import pretrained
from tests.conftest import SMALL

RUN = Path("lightning_logs/version_0")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Make downloads fail, and record their URLs."""
    asked: list[str] = []

    def download(weights: WeightsEnum, *args: Any, **kwargs: Any) -> dict[str, Any]:
        asked.append(weights.url)
        raise ConnectionError("no network")

    monkeypatch.setattr(WeightsEnum, "get_state_dict", download)
    return asked


def checkpoint_of(name: str, **structure: Any) -> dict[str, Any]:
    classifier = ImageClassifier(get_model(name, weights=None, **structure), num_classes=1000)
    return {"state_dict": classifier.state_dict()}


@pytest.mark.parametrize(
    ("name", "structure"),
    [
        ("squeezenet1_1", {}),
        ("densenet121", {}),
        ("googlenet", {"aux_logits": False, "transform_input": True, "init_weights": False}),
    ],
)
def test_torchvision_networks_in_a_checkpoint_download_nothing_and_keep_their_structure(
    name: str, structure: dict[str, Any], offline: list[str]
) -> None:
    spec = {"class_path": f"torchvision.models.{name}", "init_args": {"weights": "DEFAULT"}}
    content = checkpoint_of(name, **structure)
    made = trust.instantiate(ImageClassifier, {"backbone": spec, "num_classes": 1000}, content)
    assert not offline
    made.load_state_dict(content["state_dict"])
    assert getattr(made.backbone, "transform_input", False) == structure.get("transform_input", False)
    with pytest.raises(ConnectionError):  # afterwards, downloads work as before
        get_model(name, weights="DEFAULT")


class Listed(nn.Module):
    """A network that keeps another one in a list, outside of the checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = [get_model("squeezenet1_1", weights="DEFAULT")]
        self.head = nn.Linear(3, 10)


def test_pretrained_weights_that_are_not_in_the_checkpoint_are_loaded(
    monkeypatch: pytest.MonkeyPatch, offline: list[str]
) -> None:
    spec = {"class_path": f"{__name__}.Listed"}
    monkeypatch.setenv(trust.VARIABLE, "tests, cifar_cnn")
    content = {"state_dict": {"backbone.head.weight": torch.zeros(10, 3), "backbone.head.bias": torch.zeros(10)}}
    with pytest.raises(InputError, match=r"lacks the pretrained weights of SqueezeNet.*no network"):
        trust.instantiate(ImageClassifier, {"backbone": spec}, content)
    weights = get_model("squeezenet1_1", weights=None).state_dict()
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda *args, **kwargs: dict(weights))
    made = trust.instantiate(ImageClassifier, {"backbone": spec}, content)
    (network,) = made.backbone.hidden  # type: ignore[misc]
    assert all(map(torch.equal, network.state_dict().values(), weights.values()))


def test_weights_that_a_network_reads_are_downloaded(offline: list[str]) -> None:
    with pretrained.deferrable_downloads():
        pretrained.defer_downloads()
        get_model("squeezenet1_1", weights="DEFAULT")
        with pretrained.deferrable_downloads(), pytest.raises(ConnectionError):  # a nested fit downloads as usual
            get_model("squeezenet1_1", weights="DEFAULT")
        with pytest.raises(ConnectionError):
            ResNet18_Weights.DEFAULT.get_state_dict(progress=False).pop("fc.weight")


def test_commands_with_a_checkpoint_load_no_pretrained_weights_of_timm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[nn.Module] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_builder, "load_pretrained", lambda model, **kwargs: loaded.append(model))

    network = ["--model.backbone", "timm.create_model", "--model.backbone.model_name", "test_resnet"]
    network += ["--model.backbone.pretrained", "true", "--model.backbone.num_classes", "10"]
    assert run(["fit", *SMALL, *network, "--trainer.max_epochs", "1"]) == 0
    assert len(loaded) == 1
    assert run(["test", "--report", "false", "--trainer.enable_progress_bar", "false"]) == 0
    assert run(["fit", "--ckpt_path", "last", "--trainer.max_epochs", "2"]) == 0
    load_trained(RUN / "checkpoints/best.ckpt")
    assert len(loaded) == 1

import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock
from urllib.error import URLError

import pytest
from torch import nn

import cifar_cnn.cli
from tests.cli.test_class_options import OnceMadeParsers
from tests.conftest import CONFIGS, SMALL

Capture = pytest.CaptureFixture[str]
QUICK = ["--config", str(CONFIGS / "quickstart.yaml"), *SMALL]
LIBRARY = """
from lightning.pytorch.loggers import Logger

class ServerError(Exception):
    pass

class ServerLogger(Logger):
    name = "server"
    version = 0
    def log_hyperparams(self, params, *args):
        raise ServerError("no answer from http://localhost:5000.\\nRetry later.")
    def log_metrics(self, metrics, step=None):
        pass
"""


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package that counts as installed, because it is in a folder called site-packages."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "some_service.py").write_text(LIBRARY)
    monkeypatch.syspath_prepend(folder)
    yield
    sys.modules.pop("some_service", None)


class OwnNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        nn.Conv2d(3, 4, 3, groups=2)


class Forgetful(nn.Module):
    def __init__(self) -> None:
        self.width = 3


class Untyped(nn.Module):
    def __init__(self, width, depth=1):  # type: ignore[no-untyped-def]
        super().__init__()
        self.net = nn.Linear(width, depth)


def fails(*words: str) -> int:
    return cifar_cnn.cli.run(["fit", *QUICK, *words], OnceMadeParsers)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["torchvision.models.resnet18", "--model.backbone.weights", "DEFAULT"],
            "model.backbone: torchvision.models.resnet18: URLError: <urlopen error no network>; "
            "pretrained weights could not be downloaded: without a network connection, use random weights "
            "(--model.backbone.weights null), or put",
        ),
        (
            ["torchvision.models.segmentation.lraspp_mobilenet_v3_large"],
            "use random weights (--model.backbone.weights null --model.backbone.weights_backbone null), or put",
        ),
        (
            ["torchvision.models.resnet18", "--model.backbone.weights=DEFAULT", "--model.backbone.num_classes", "10"],
            "1000 but got 10 instead; torchvision's pretrained weights include the last layer for their own "
            "classes: use timm's (--model.backbone timm.create_model --model.backbone.pretrained true)",
        ),
        ([f"{__name__}.Forgetful"], "call super().__init__() first in Forgetful.__init__\n"),
        ([f"{__name__}.Untyped"], "model.backbone needs model.backbone.width: give it with --model.backbone.width\n"),
        (
            ["timm.create_model", "--model.backbone.model_name", "resnet10tt"],
            "model.backbone: timm.create_model: RuntimeError: Unknown model (resnet10tt)\n",
        ),
    ],
)
def test_an_error_in_a_library_network_is_one_line(
    words: list[str], message: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(Path.cwd()))
    monkeypatch.setattr("torch.hub.urlopen", Mock(side_effect=URLError("no network")))
    assert fails("--model.backbone", *words) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines(keepends=True) if "error: " in line]
    assert message in line
    assert not Path("lightning_logs").exists()


def test_a_user_class_keeps_its_traceback() -> None:
    with pytest.raises(ValueError, match="in_channels must be divisible by groups"):
        fails("--model.backbone", f"{__name__}.OwnNet")


@pytest.mark.usefixtures("library")
def test_a_failing_logger_is_one_line(capsys: Capture) -> None:
    assert fails("--trainer.logger", "some_service.ServerLogger") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(
        "cifar-cnn: error: trainer.logger: ServerLogger: ServerError: no answer from http://localhost"
    )
    assert line.endswith("Retry later; --trainer.logger null trains without it")
    assert not Path("lightning_logs").exists()

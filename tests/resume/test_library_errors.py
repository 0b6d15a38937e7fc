import re
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock
from urllib.error import URLError

import pytest
from torch import nn

import cifar_cnn.cli
from cifar_cnn.resume.device_errors import device_failure
from tests.cli.test_class_options import OnceMadeParsers
from tests.conftest import CONFIGS, SMALL

Capture = pytest.CaptureFixture[str]
QUICK = ["--config", str(CONFIGS / "quickstart.yaml"), *SMALL]
LIBRARY = """
import torch
from lightning.pytorch.loggers import Logger

class FailingLoss(torch.nn.CrossEntropyLoss):
    def __init__(self, memory: bool):
        super().__init__()
        self.memory = memory
        self.calls = 0
    def forward(self, logits, target):
        self.calls += 1
        if self.calls > 30:
            if self.memory:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has none free.")
            raise torch.AcceleratorError("CUDA error: unspecified launch failure\\nSearch for it.")
        return super().forward(logits, target)

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


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    ("memory", "reason"),
    [
        ("true", "not enough GPU memory for another 2.00 GiB: lower data.batch_size or data.eval_batch_size"),
        ("false", "the device failed: CUDA error: unspecified launch failure"),
    ],
)
def test_a_failing_device_ends_a_fit_in_one_line_that_says_how_to_resume(
    memory: str, reason: str, capsys: Capture
) -> None:
    assert fails("--model.loss", "some_service.FailingLoss", "--model.loss.memory", memory) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    steps = re.fullmatch(
        rf"cifar-cnn: ended at step (\d+): {re.escape(reason)}; step (\d+) is saved; "
        r"resume with  cifar-cnn fit --ckpt_path lightning_logs/version_0/checkpoints/last.ckpt",
        line,
    )
    assert steps, line
    assert int(steps[1]) > int(steps[2])


def library_error(error: Exception) -> Exception:
    """Raise an exception in code that is not the user's."""
    with pytest.raises(type(error)) as raised:
        exec(compile("raise error", "<library>", "exec"), {"error": error})
    return error.with_traceback(raised.tb.tb_next)


@pytest.mark.parametrize(
    ("message", "failure"),
    [
        (
            "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
            "allocate 38654705664 bytes. Error code 12 (Cannot allocate memory)",
            "not enough memory for another 36.00 GiB: lower data.batch_size or data.eval_batch_size",
        ),
        (
            "MPS backend out of memory (MPS allocated: 8.00 GB). Tried to allocate 512.00 MB on private pool.",
            "not enough GPU memory for another 512.00 MB: lower data.batch_size or data.eval_batch_size",
        ),
        (
            "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx( handle)`",
            "the device failed: CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx( handle)`",
        ),
        ("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", "the device failed: cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        ("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)", None),
        ("Attempting to deserialize object on a CUDA device but torch.cuda.is_available() is False.", None),
    ],
)
def test_failures_of_devices_are_recognized_by_their_message(message: str, failure: str | None) -> None:
    assert device_failure(library_error(RuntimeError(message))) == failure


def test_the_first_failure_counts_and_own_code_keeps_its_traceback_unless_memory_is_missing() -> None:
    first, second = (RuntimeError(f"CUDA error: {name}\nSearch for it.") for name in ("first", "second"))
    second.__context__ = library_error(first)
    assert device_failure(library_error(second)) == "the device failed: CUDA error: first"
    for message, is_shown in (("CUDA error: device-side assert triggered", False), ("CUDA out of memory.", True)):
        with pytest.raises(RuntimeError) as raised:
            raise RuntimeError(message)
        assert bool(device_failure(raised.value)) == is_shown

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import cifar_cnn.cli
from cifar_cnn.backbones import SimpleCNN
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.data import ImageSet
from tests.harness import warm

CONFIGS = Path(__file__).parent.parent / "configs"

# A few hundred drawn images are enough to exercise all parts of a command. Testing the network and drawing its
# confusion matrix take as long as the rest of such a fit, so only tests that read the results add TESTED.
SMALL = [
    *("--data.source", "Shapes", "--data.source.train_size", "300", "--data.source.test_size", "50"),
    *("--data.val_size", "40", "--data.batch_size", "32", "--trainer.enable_progress_bar", "false"),
    *("--test_after_fit", "false", "--report", "false", "--filters.enabled", "false"),
]
TESTED = ["--test_after_fit", "true"]
NARROW = ["--model.backbone.channels", "[8, 8, 16, 16]"]  # for ResNet-18: measuring the full one takes many seconds
PICTURES = ["--filters.enabled", "true"]  # drawing them takes as long as the rest of a small fit


SLOWEST = (
    *("test_cli", "test_survival", "test_ranks", "test_benchmarks", "test_docs", "test_untrusted", "test_compare"),
    *("test_notebooks", "test_filter_images", "test_export", "test_readme", "test_report", "test_given_callbacks"),
)


def pytest_sessionstart() -> None:
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    gc.freeze()  # a last search of all objects for garbage would take a second


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slowest files first, so that no process is still running one of them at the end."""
    places = {name: place for place, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(SLOWEST)))


@pytest.fixture(scope="session", autouse=True)
def own_key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Sign with a key that exists only for these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use an empty current folder, since runs write into it and must not write into the project."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def strangers_files(in_empty_folder: Path) -> Callable[[], set[str]]:
    """Create files in the current folder that are named like standard modules and optional dependencies.

    Returns:
        A function that returns the names of the files that have been executed.
    """
    mark = in_empty_folder.parent / "was_run"
    mark.touch()
    at_start = [sys.executable, "-I", "-c", "import runpy, importlib.util, sys; print(*sys.modules)"]
    imported = subprocess.run(at_start, capture_output=True, check=True, text=True).stdout.split()
    # The excluded modules are imported by `python -m` itself, before the first line of the package runs.
    for name in {*sys.stdlib_module_names, "pynvml", "torchcomms", "dill", "triton", "yaml"} - {*imported}:
        Path(f"{name}.py").write_text(f"with open({str(mark)!r}, 'a') as file: print({name!r}, file=file)")
    return lambda: set(mark.read_text().split())


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tested run of two epochs; read-only."""
    root = tmp_path_factory.mktemp("trained")
    arguments = ["fit", "--config", str(CONFIGS / "quickstart.yaml"), *SMALL, *PICTURES, *TESTED]
    arguments += ["--trainer.max_epochs", "2", "--trainer.default_root_dir", str(root)]
    # With this precision, results do not depend on the batch size.
    arguments += ["--trainer.log_every_n_steps", "4", "--trainer.precision", "32-true"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["cifar-cnn", *arguments])
        assert cifar_cnn.cli.run(arguments) == 0
    return root / "lightning_logs" / "version_0"


@dataclass(frozen=True)
class Finished:
    """The result of a command."""

    status: int
    out: str
    err: str


class RunCommand:
    """Runs ``cifar-cnn`` in this process, to save the seconds that importing torch takes."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.capsys, self.monkeypatch = capsys, monkeypatch

    def __call__(self, *words: str | Path) -> Finished:
        args = [str(word) for word in words]
        self.monkeypatch.setattr(sys, "argv", ["cifar-cnn", *args])
        self.capsys.readouterr()
        status = cifar_cnn.cli.run(args)
        return Finished(status, *self.capsys.readouterr())

    def refused(self, *words: str | Path) -> str:
        """Run a command that must reject its arguments; return its error line."""
        finished = self(*words)
        assert finished.status == 2, finished
        (line,) = (line for line in finished.err.splitlines() if line.startswith("cifar-cnn: error: "))
        return line.removeprefix("cifar-cnn: error: ")


@pytest.fixture
def run_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> RunCommand:
    return RunCommand(capsys, monkeypatch)


@pytest.fixture
def make_images() -> Callable[..., ImageSet]:
    def make(n: int, size: int = 8, classes: int = 10) -> ImageSet:
        generator = torch.Generator().manual_seed(n)
        images = torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=generator)
        return ImageSet(images, torch.arange(n) % classes, tuple(f"class {i}" for i in range(classes)))

    return make


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """Two classes of images that differ in color; the images have several formats and sizes."""
    rng = np.random.default_rng(0)
    root = tmp_path / "images"
    formats = (("png", (40, 32)), ("jpg", (32, 32)), ("bmp", (20, 60)), ("gif", (33, 31)), ("webp", (64, 64)))
    for split, copies in (("train", 4), ("test", 2)):
        for name, red in (("blue thing", 0), ("röt", 255)):
            folder = root / split / name
            folder.mkdir(parents=True)
            for copy in range(copies):
                for suffix, (width, height) in formats:
                    pixels = rng.integers(0, 40, (height, width, 3), dtype=np.uint8)
                    pixels[..., 0] = abs(red - pixels[..., 0].astype(int))
                    Image.fromarray(pixels).save(folder / f"{copy}.{suffix}")
    return root


@pytest.fixture(scope="session")
def warm_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Python interpreter that starts fast: see tests/harness/warm.py."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    if not sys.platform.startswith("linux") or len(str(folder)) > 80:  # a socket's path has at most 107 bytes
        yield sys.executable
        return
    with warm.interpreter(folder) as program:
        yield program


@pytest.fixture(scope="session")
def warm_command(warm_python: str) -> list[str]:
    """``cifar-cnn`` as a process that starts fast."""
    return [warm_python, str(Path(sys.executable).with_name("cifar-cnn"))]


def run_forked(python: str, module: str, folder: Path) -> dict[str, Any]:
    """Run a module that forks fits, and return the JSON that it prints."""
    result = subprocess.run(
        [python, "-m", module, folder],
        capture_output=True,
        text=True,
        cwd=CONFIGS.parent,
        # More threads would not survive the fork. The streams of a fit, which share a file, keep their order.
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def checkpoint_content() -> dict[str, Any]:
    """A checkpoint with the entries that commands read."""
    backbone = {"class_path": "cifar_cnn.backbones.SimpleCNN", "init_args": {"channels": [2, 2, 2]}}
    return {
        "state_dict": ImageClassifier(SimpleCNN((2, 2, 2))).state_dict(),
        "global_step": 1,
        "pytorch-lightning_version": "2.6.0",
        "hyper_parameters": {"backbone": backbone},
        "datamodule_hyper_parameters": {},
        "CIFAR10DataModule": {
            "class_names": [str(i) for i in range(10)],
            "image_size": 32,
            "mean": [0.5] * 3,
            "std": [0.2] * 3,
        },
    }

import dataclasses
import json
import re
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import get_args

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from cifar_cnn.analysis import export
from cifar_cnn.analysis.export_formats import FORMATS
from cifar_cnn.analysis.quantization import Int8, quantize
from cifar_cnn.backbones import ResNet18, SpeedrunNet
from cifar_cnn.base.errors import InputError
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.cli.arguments import PARSERS
from cifar_cnn.data import ImageSet
from cifar_cnn.runs.checkpoints import Trained, load_trained
from cifar_cnn.tta import TTA
from tests.conftest import RunCommand


@pytest.fixture
def images() -> Tensor:
    return torch.randint(0, 256, (7, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def trained(trained_run: Path) -> Trained:
    return load_trained(trained_run / "checkpoints/best.ckpt")


def assert_no_paths(path: Path) -> None:
    """Check that the file holds no path of this machine and no line of code."""
    content = path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            content = b"".join(map(archive.read, archive.namelist()))
    folders = (Path.home(), tempfile.gettempdir(), Path(__file__).parents[2], sys.prefix, Path(torch.__file__).parent)
    for text in (*map(str, folders), ", line ", "self.backbone("):
        assert len(text) < 3 or text.encode() not in content, text


def test_onnx_gives_the_probabilities_of_predict_for_any_batch_size(
    trained_run: Path, trained: Trained, images: Tensor, run_command: RunCommand
) -> None:
    finished = run_command("export", trained_run, "--output", "net.onnx")
    assert finished.status == 0
    assert re.search(r"on 50 test images: within \d\.\de[-+]\d\d of PyTorch's results", finished.out)
    assert [path.name for path in Path().iterdir()] == ["net.onnx"]
    assert_no_paths(Path("net.onnx"))
    session = onnxruntime.InferenceSession("net.onnx")
    expected = trained.probabilities(images)
    for n in (1, 2, 7):
        (result,) = session.run(["probabilities"], {"images": images[:n].numpy()})
        np.testing.assert_allclose(result, expected[:n], atol=1e-5)
    metadata = session.get_modelmeta().custom_metadata_map
    assert tuple(json.loads(metadata["class_names"])) == trained.class_names
    assert metadata["image_size"] == "32"
    assert json.loads(metadata["mean"]) == trained.mean.tolist()
    assert json.loads(metadata["std"]) == trained.std.tolist()


def test_torch_export_with_test_time_augmentation(images: Tensor) -> None:
    torch.manual_seed(0)
    classifier = ImageClassifier(SpeedrunNet(widths=(24, 24, 24)), tta="flip_shift").eval()
    names = tuple("abcdefghij")
    trained = Trained(classifier, names, 32, torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.4]))
    difference, quantized = export.export(trained, Path("net.pt2"), "torch_export", images)
    assert difference < 1e-6
    assert quantized is None
    assert_no_paths(Path("net.pt2"))
    extra = {"class_names.txt": ""}
    program = torch.export.load("net.pt2", extra_files=extra)
    assert tuple(json.loads(extra["class_names.txt"])) == names
    for n in (1, 7):
        torch.testing.assert_close(program.module()(images[:n]), trained.probabilities(images[:n]))


def test_test_time_augmentation_is_that_of_the_run_by_default(
    trained_run: Path, trained: Trained, images: Tensor, run_command: RunCommand
) -> None:
    assert set(next(a for a in PARSERS["export"]()._actions if a.dest == "tta").choices or ()) == set(get_args(TTA))
    content = torch.load(trained_run / "checkpoints/best.ckpt", weights_only=True)
    content["hyper_parameters"]["tta"] = "flip"
    torch.save(content, "net.ckpt")
    cases: list[tuple[list[str], TTA, int]] = [
        ([], "flip", 2),
        (["--tta", "none"], "none", 1),
        (["--tta", "flip_shift"], "flip_shift", 6),
    ]
    for options, tta, passes in cases:
        finished = run_command("export", "net.ckpt", "--format", "torch_export", *options)
        assert finished.status == 0
        assert f"Passes    {passes} per image; test-time augmentation: {tta}\n" in finished.out
        trained.classifier.tta = tta
        extra = {"test_time_augmentation.txt": ""}
        program = torch.export.load("net.pt2", extra_files=extra)
        torch.testing.assert_close(program.module()(images), trained.probabilities(images))
        assert extra["test_time_augmentation.txt"] == tta


def test_by_default_the_file_is_in_the_runs_folder(trained_run: Path, run_command: RunCommand) -> None:
    path = trained_run / "model.pt2"
    assert run_command("export", "--format", "torch_export", "--ckpt_path", trained_run, "--verify", "5").status == 0
    assert path.is_file()
    path.unlink()


def test_a_file_that_differs_is_deleted(trained: Trained, images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_other(module: nn.Module, images: Tensor, metadata: dict[str, str], path: Path) -> None:
        shifted = dataclasses.replace(trained, mean=trained.mean + 0.01)
        real.write(export.DeployedClassifier(shifted).eval(), images, metadata, path)

    real = FORMATS["torch_export"]
    monkeypatch.setitem(FORMATS, "torch_export", real._replace(write=write_other))
    Path("net.pt2").write_text("verified before")
    with pytest.raises(InputError, match=r"differs from PyTorch's by up to .*; net.pt2 was not written"):
        export.export(trained, Path("net.pt2"), "torch_export", images)
    assert [path.name for path in Path().iterdir()] == ["net.pt2"]
    assert Path("net.pt2").read_text() == "verified before"


def test_a_file_that_gives_nan_is_not_kept(trained: Trained, images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    single = trained.probabilities(images[:1])
    nan = torch.full((7, 10), float("nan"))
    loaded = FORMATS["torch_export"]._replace(load=lambda path: lambda x: single if len(x) == 1 else nan[: len(x)])
    monkeypatch.setitem(FORMATS, "torch_export", loaded)
    with pytest.raises(InputError, match=r"differs from PyTorch's by up to nan"):
        export.export(trained, Path("net.pt2"), "torch_export", images)
    assert not list(Path().iterdir())


class Branching(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3)) if images.sum() > 0 else images.amax((2, 3))


def test_what_cannot_be_exported_is_one_line(trained: Trained, images: Tensor) -> None:
    branching = dataclasses.replace(trained, classifier=ImageClassifier(Branching(), num_classes=3))
    with pytest.raises(InputError, match=r"^Branching cannot be exported as torch_export: "):
        export.export(branching, Path("net.pt2"), "torch_export", images)
    with pytest.raises(InputError, match=r"^cannot write nowhere/net.pt2: "):
        export.export(trained, Path("nowhere/net.pt2"), "torch_export", images)
    assert not list(Path().iterdir())


def test_without_the_runs_images_the_message_asks_for_others(
    trained_run: Path, image_folder: Path, run_command: RunCommand
) -> None:
    content = torch.load(trained_run / "checkpoints/best.ckpt", weights_only=True)
    source = {"class_path": "cifar_cnn.data.ImageFolder", "init_args": {"root": "moved"}}
    content["datamodule_hyper_parameters"]["source"] = source
    torch.save(content, "net.ckpt")
    arguments = ["export", "net.ckpt", "--format", "torch_export"]
    refused = run_command.refused(*arguments)
    assert re.search(
        r"could not be loaded for verification \(moved/train: .*\): name other images with --images", refused
    )
    finished = run_command(*arguments, "--images", image_folder, "--verify", "9")
    assert finished.status == 0
    assert "on 9 given images" in finished.out
    assert Path("net.pt2").is_file()


def test_mistakes_are_one_line(trained_run: Path, monkeypatch: pytest.MonkeyPatch, run_command: RunCommand) -> None:
    run = str(trained_run)
    for arguments, message in (
        ([run, "--format", "onxx"], "argument --format: invalid choice: 'onxx'"),
        ([run, "--output", "net.pt"], "--output of format onnx must end with .onnx, not net.pt"),
        ([run, "--ckpt_path", run], "give either the run or --ckpt_path, not both"),
        ([run, "--verify", "1"], "--verify must be 2 or more"),
        ([], "no run in lightning_logs has a checkpoint best.ckpt yet"),
        ([run, "--images", "nowhere.png"], "no file or folder nowhere.png"),
        ([run, "--max_loss", "2"], "--max_loss needs --precision int8"),
        ([run, "--precision", "int8", "--calibration", "0"], "--calibration must be 1 or more"),
        ([run, "--precision", "int8", "--max_loss", "-1"], "--max_loss must be from 0 to 100 points"),
        ([run, "--precision", "int8", "--format", "torch_export"], "--precision int8 is written as ONNX"),
    ):
        assert message in run_command.refused("export", *arguments)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refused = run_command.refused("export", run)
    assert refused == "--format onnx needs onnx, onnxscript, onnxruntime: pip install 'cifar-cnn[export]'"


def test_int8_is_smaller_and_keeps_accuracy_and_metadata(
    trained_run: Path, trained: Trained, images: Tensor, run_command: RunCommand
) -> None:
    finished = run_command("export", trained_run, "--precision", "int8", "--output", "net.onnx", "--max_loss", "10")
    assert finished.status == 0, finished.err
    assert finished.err == ""
    assert "Int8      calibrated on 260 training images" in finished.out
    accuracy = r"Accuracy  [\d.]+% before, [\d.]+% after \([+-][\d.]+ percentage points\), on 40 validation"
    assert re.search(accuracy, finished.out)
    assert [path.name for path in Path().iterdir()] == ["net.onnx"]
    assert_no_paths(Path("net.onnx"))
    weights = sum(each.numel() for each in trained.classifier.backbone.parameters())
    assert Path("net.onnx").stat().st_size < 1.5 * weights
    session = onnxruntime.InferenceSession("net.onnx")
    expected = trained.probabilities(images)
    for n in (1, 2, 7):
        (result,) = session.run(["probabilities"], {"images": images[:n].numpy()})
        assert np.abs(result - expected[:n].numpy()).max() < 0.1
    metadata = session.get_modelmeta().custom_metadata_map
    assert tuple(json.loads(metadata["class_names"])) == trained.class_names
    assert json.loads(metadata["mean"]) == trained.mean.tolist()
    assert metadata["precision"] == "int8"


@pytest.mark.parametrize(
    "backbone", [ResNet18(channels=(8, 8, 16, 16)), SpeedrunNet(widths=(24, 24, 24))], ids=["resnet18", "speedrun"]
)
def test_int8_of_other_networks_and_its_bound(backbone: nn.Module, images: Tensor) -> None:
    classifier = ImageClassifier(backbone).eval()
    trained = Trained(classifier, tuple("abcdefghij"), 32, torch.full((3,), 0.5), torch.full((3,), 0.2))
    path = Path("net.onnx")
    export.export(trained, path, "onnx", images)
    kept = path.read_bytes()
    predicted = ImageSet(images, trained.probabilities(images).argmax(1), trained.class_names)
    found = quantize(path, Int8(images, predicted, "validation images", 100))
    assert found.accuracy[0] == 1
    assert found.size == (len(kept), path.stat().st_size)
    assert found.size[1] < found.size[0]
    path.write_bytes(kept)
    bound = Int8(images, predicted, "validation images", -1)  # all predictions were correct: none can be gained
    with pytest.raises(InputError, match=r"from 100.00% to .*%, by more than max_loss, -1 percentage points; no file"):
        quantize(path, bound)
    assert path.read_bytes() == kept
    assert [each.name for each in Path().iterdir()] == ["net.onnx"]

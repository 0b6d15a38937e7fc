import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cifar_cnn.analysis.hub import HubClassifier
from cifar_cnn.analysis.run import load_run
from cifar_cnn.base.errors import InputError
from cifar_cnn.classifier import ImageClassifier
from tests.conftest import RunCommand


@pytest.fixture
def images() -> Tensor:
    return torch.randint(0, 256, (7, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def folder(trained_run: Path) -> Path:
    HubClassifier.of_run(load_run(trained_run)).save_pretrained("net")
    return Path("net")


def change(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_the_command_writes_what_loads_with_the_same_logits(
    trained_run: Path, images: Tensor, run_command: RunCommand
) -> None:
    finished = run_command("export", trained_run, "--format", "hub", "--output", "net")
    assert finished.status == 0, finished.err
    assert "on 50 test images: within 0.0e+00 of PyTorch's results" in finished.out
    assert sorted(path.name for path in Path("net").iterdir()) == ["README.md", "config.json", "model.safetensors"]
    run = load_run(trained_run)
    model = HubClassifier.from_pretrained("net")
    assert not model.training
    assert model.class_names == run.class_names
    with torch.inference_mode():
        for n in (1, 7):
            assert torch.equal(model(images[:n]), run.logits(images[:n]))
    card = Path("net/README.md").read_text()
    test = run.result
    low, high = test["accuracy_interval"]
    assert f"{test['accuracy']:.2%} of 50 test images (95% interval {low:.2%} to {high:.2%})" in card
    assert "260 images of Shapes; 40 for validation" in card
    assert "license:" not in card.split("---")[1]
    Path("net/README.md").write_text("mine")
    model.save_pretrained("net")
    assert Path("net/README.md").read_text() == "mine"
    assert HubClassifier.from_pretrained("net").config == model.config


def test_the_config_of_something_else_is_not_replaced(trained_run: Path, run_command: RunCommand) -> None:
    Path("config.json").write_text("mine")
    refused = run_command.refused("export", trained_run, "--format", "hub", "--output", ".")
    assert refused == "config.json does not belong to an exported network: choose another folder with --output"
    assert Path("config.json").read_text() == "mine"


def test_a_folder_from_somebody_else_imports_nothing_of_theirs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("theirs.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(".")
    change(folder, model={"backbone": {"class_path": "theirs.Net"}, "num_classes": 10})
    with pytest.raises(InputError, match=r"theirs.Net was not imported: it is not trusted"):
        HubClassifier.from_pretrained("net")
    change(folder, model={"backbone": {"class_path": "os.system", "init_args": {"command": "touch x"}}})
    with pytest.raises(InputError, match=r"cannot be created here: os.system"):
        HubClassifier.from_pretrained("net")
    huge = {"class_path": "SimpleCNN", "init_args": {"channels": [10**6] * 3}}
    change(folder, model={"backbone": huge, "num_classes": 10})
    with pytest.raises(InputError, match="weights do not fit this SimpleCNN"):
        HubClassifier.from_pretrained("net")
    assert "theirs" not in sys.modules
    assert not Path("x").exists()


def test_damaged_folders_are_one_line_and_no_pickle_is_read(folder: Path) -> None:
    shutil.copytree(folder, "pickled")
    torch.save({}, "pickled/pytorch_model.bin")
    Path("pickled/model.safetensors").unlink()
    with pytest.raises(InputError, match=r"pickled/model.safetensors cannot be read"):
        HubClassifier.from_pretrained("pickled")
    change(folder, images={"class_names": [], "image_size": 32, "mean": [0.5] * 3, "std": [0.2] * 3})
    with pytest.raises(InputError, match=r"class_names must be a list of at least one name"):
        HubClassifier.from_pretrained("net")
    for text in ("{", "[]", "null", "[" * 100_000):
        (folder / "config.json").write_text(text)
        with pytest.raises(InputError, match=r"^net/config.json is damaged: write the folder with"):
            HubClassifier.from_pretrained("net")
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"net has no config.json"):
        HubClassifier.from_pretrained("net")


def test_a_network_that_only_python_can_build_is_passed_again(folder: Path, images: Tensor) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    config = json.loads((folder / "config.json").read_text())
    model = HubClassifier(ImageClassifier(network).eval(), {**config, "model": {"num_classes": 10}})
    model.save_pretrained("own")
    with pytest.raises(InputError, match="does not describe its network"):
        HubClassifier.from_pretrained("own")
    other = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    assert torch.equal(HubClassifier.from_pretrained("own", backbone=other)(images), model(images))

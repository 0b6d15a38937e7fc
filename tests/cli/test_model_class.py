"""Subclasses of ImageClassifier named on the command line or in a config."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

import cifar_cnn.cli
from cifar_cnn.base.errors import InputError
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.cli import model_class
from cifar_cnn.runs.checkpoints import read_checkpoint
from tests.conftest import CONFIGS, SMALL

CODE = """
from cifar_cnn.classifier import ImageClassifier

class Scaled(ImageClassifier):
    def __init__(self, *args, alpha: float = 0.2, **kwargs):
        super().__init__(*args, **kwargs)
        self.alpha = alpha

    def training_step(self, batch, batch_idx):
        return self.alpha * super().training_step(batch, batch_idx)

class Other(ImageClassifier):
    pass

class Closed(ImageClassifier):
    def __init__(self, backbone):
        super().__init__(backbone)

number = 3
"""
QUICK = [
    *("--config", str(CONFIGS / "quickstart.yaml"), *SMALL, "--trainer.max_epochs", "1"),
    *("--trainer.limit_train_batches", "1"),
]
MODEL = {"class_path": "own_step.Scaled", "init_args": {"alpha": 1e-3}}


def run(monkeypatch: pytest.MonkeyPatch, *args: str) -> int:
    monkeypatch.setattr(sys, "argv", ["cifar-cnn", *args])
    return cifar_cnn.cli.run(list(args))


@pytest.fixture(autouse=True)
def own_step(in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    Path("own_step.py").write_text(CODE)
    Path("broken.py").write_text("import no_such_package")
    monkeypatch.syspath_prepend(in_empty_folder)
    yield
    sys.modules.pop("own_step", None)


def test_a_class_named_in_a_config_is_trained_resumed_and_tested(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("scaled.yaml").write_text("model: {class_path: own_step.Scaled, init_args: {alpha: 1e-3}}")
    assert run(monkeypatch, "fit", *QUICK, "--config", "scaled.yaml") == 0
    folder = Path("lightning_logs/version_0")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["model"]["class_path"] == "own_step.Scaled"
    assert config["model"]["init_args"]["alpha"] == 1e-3
    content = read_checkpoint(folder / "checkpoints/last.ckpt")
    assert content["model"] == "own_step.Scaled"
    assert content["hyper_parameters"]["alpha"] == 1e-3
    sys.modules.pop("own_step")
    assert run(monkeypatch, "fit", "--ckpt_path", "last", "--trainer.max_epochs", "2") == 0
    record = json.loads((folder / "fit.json").read_text())
    assert record["command"].startswith("cifar-cnn fit --ckpt_path last")
    assert run(monkeypatch, "test", "--model.tta", "flip", "--report", "false") == 0
    assert "Trained as" not in capsys.readouterr().err

    repeated = yaml.safe_load((folder / "config.yaml").read_text())
    args = ["--config", str(folder / "config.yaml"), "--trainer.max_epochs", "1"]
    assert run(monkeypatch, "fit", *args) == 0
    weights = read_checkpoint(Path("lightning_logs/version_1/checkpoints/last.ckpt"))["state_dict"]
    assert all(torch.equal(weights[name], value) for name, value in content["state_dict"].items())
    again = yaml.safe_load(Path("lightning_logs/version_1/config.yaml").read_text())
    repeated["trainer"]["max_epochs"] = 1
    assert again == repeated


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("own_step.Scalde", "there is no 'Scalde' in own_step; nearest: own_step.Scaled"),
        ("own_stap.Scaled", "there is no module 'own_stap'; your own modules are searched for in the current folder"),
        ("own_step.number", "own_step.number is not a subclass of cifar_cnn.ImageClassifier"),
        ("torch.nn.Linear", "select a network with --model.backbone torch.nn.Linear"),
        ("own_step.Closed", "own_step.Closed does not accept num_classes: let its __init__ accept **kwargs"),
        ("broken.Scaled", "broken.Scaled cannot be imported: a package is not installed: No module named 'no_such"),
        ("os.path", "os.path is not allowed: it is not a class for training"),
        ("__main__.Scaled", "__main__.Scaled is not allowed"),
    ],
)
def test_a_wrong_class_is_one_line(
    path: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "fit", *QUICK, "--model", path) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert line.startswith("cifar-cnn: error: model: ")
    assert message in line
    assert not Path("lightning_logs").exists()


def test_the_last_named_class_is_trained() -> None:
    Path("other.yaml").write_text(yaml.safe_dump({"model": {"class_path": "own_step.Other"}}))
    default = ImageClassifier
    for args, name in (
        (["fit", "--config", "other.yaml"], "Other"),
        (["fit", "--config=other.yaml", "--model", "own_step.Scaled"], "Scaled"),
        (["fit", "--model", "own_step.Scaled", "--config", "other.yaml"], "Other"),
        (["fit", "--model.class_path=own_step.Scaled"], "Scaled"),
        (["fit", "--model", json.dumps(MODEL)], "Scaled"),
        (["fit", "--config", "other.yaml", "--model", "cifar_cnn.ImageClassifier"], "ImageClassifier"),
        (["fit", "--model", "missing.yaml", "--model.backbone", "own_step.Scaled"], "ImageClassifier"),
    ):
        assert model_class.chosen(args, default).__name__ == name
    with pytest.raises(InputError, match="model: 3 is not an import path"):
        model_class.chosen(["fit", "--model", "{class_path: 3}"], default)


def test_the_name_of_the_class_is_removed_from_the_command_line() -> None:
    args = ["fit", "--model", "own_step.Scaled", "--model.init_args.alpha", "2", "--model.init_args.loss=X"]
    assert model_class.without(args) == ["fit", "--model.alpha", "2", "--model.loss=X"]
    assert model_class.without(["fit", "--model", json.dumps(MODEL)]) == ["fit", "--model", "{alpha: 0.001}"]
    plain = ["fit", "-c", "x.yaml", "--model", "model.yaml", "--model.loss", "torch.nn.CrossEntropyLoss"]
    assert model_class.without(plain) == plain


def test_options_of_another_class_in_a_config_are_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("scaled.yaml").write_text(yaml.safe_dump({"model": MODEL}))
    args = ["fit", "--config", str(CONFIGS / "quickstart.yaml"), "--config", "scaled.yaml"]
    for path, written in (("cifar_cnn.ImageClassifier", None), ("own_step.Scaled", 0.001)):
        with pytest.raises(SystemExit) as end:
            run(monkeypatch, *args, "--model", path, "--model.tta", "flip", "--print_config")
        assert not end.value.code
        model = yaml.safe_load(capsys.readouterr().out)["model"]
        assert model.get("init_args", model).get("alpha") == written
        assert model.get("init_args", model)["tta"] == "flip"
    assert run(monkeypatch, *args, "--model.alpah", "2") == 2
    assert "unknown option --model.alpah; nearest: --model.alpha" in capsys.readouterr().err

"""A run keeps a copy of the user's code, and commands report later changes of the code."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

import cifar_cnn.cli
from cifar_cnn.analysis.compare.results import read_run
from cifar_cnn.base.errors import InputError
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.cli import checkpoint_option
from cifar_cnn.runs import kept_code, trained_as
from cifar_cnn.runs.checkpoints import load_trained, read_checkpoint
from cifar_cnn.trust import names as trust
from cifar_cnn.trust import ownership, user_code
from tests.conftest import CONFIGS, SMALL

FILES = {
    "own_net.py": """
from own_package import ACTIVATION
from torch import nn

class Net(nn.Sequential):
    def __init__(self, width: int = 4):
        super().__init__(nn.Conv2d(3, width, 3, stride=4), ACTIVATION(), nn.Flatten(), nn.Linear(width * 64, 10))
""",
    "own_package/__init__.py": "from .parts import ACTIVATION",
    "own_package/parts.py": "from torch import nn\nACTIVATION = nn.ReLU\n",
    "own_model.py": """
from cifar_cnn.classifier import ImageClassifier
from torch import nn

class Distilled(ImageClassifier):
    def __init__(self, backbone: nn.Module, teacher: nn.Module, weight: float = 0.5, act=lambda x: x, **kwargs):
        super().__init__(backbone, **kwargs)
        self.teacher = teacher
        self.weight = weight

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss + self.weight * nn.functional.mse_loss(self(batch.images), self.teacher(batch.images))
""",
    "unused.py": "",
}


def forget() -> None:
    """Forget these modules, as in a new process."""
    for name in [name for name in sys.modules if name.split(".")[0] in ("own_net", "own_package", "own_model")]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def distilled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files above and a run that was trained with them."""
    root = tmp_path_factory.mktemp("distilled")
    for name, text in FILES.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    words = ["fit", "--config", str(CONFIGS / "quickstart.yaml"), *SMALL, "--trainer.max_epochs", "1"]
    words += ["--model.backbone", "own_net.Net", "--model.teacher", "own_net.Net", "--model.teacher.width", "2"]
    with pytest.MonkeyPatch.context() as patch:
        forget()  # other tests import modules with the same names
        patch.chdir(root)
        patch.syspath_prepend(root)
        patch.setattr(sys, "argv", ["cifar-cnn", *words])
        assert cifar_cnn.cli.run(words, model=__import__("own_model").Distilled) == 0
        forget()
    return root


@pytest.fixture
def work(distilled: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Use the folder of ``distilled`` as the current folder; restore its files afterwards."""
    monkeypatch.chdir(distilled)
    monkeypatch.syspath_prepend(distilled)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield distilled
    forget()
    for name, text in FILES.items():
        (distilled / name).write_text(text)


CHECKPOINT = Path("lightning_logs/version_0/checkpoints/best.ckpt")
CODE = Path("lightning_logs/version_0/code")


@pytest.mark.usefixtures("work")
def test_a_run_keeps_the_files_that_it_used() -> None:
    kept = {path.relative_to(CODE).as_posix(): path.read_text() for path in CODE.rglob("*.py")}
    assert kept == {name: text for name, text in FILES.items() if name != "unused.py"}
    content = read_checkpoint(CHECKPOINT)
    record = content[ownership.KEY]
    assert record["code"] == user_code.digests({name: CODE / name for name in kept})
    assert ownership.is_own(content)
    assert user_code.kept(CODE.parent, record["code"]) == CODE


def test_changed_code_is_named_and_the_kept_code_can_be_used(
    work: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)

    def probabilities() -> torch.Tensor:
        caplog.clear()
        forget()
        with trust.import_policy(), kept_code.unloading_copies():
            return load_trained(CHECKPOINT).probabilities(images)

    expected = probabilities()
    assert not caplog.records
    (work / "own_package/parts.py").write_text("from torch import nn\nACTIVATION = nn.Tanh\n")
    assert not torch.equal(probabilities(), expected)
    assert caplog.messages == [
        "own_package/parts.py has changed since lightning_logs/version_0 was trained; using the current code. "
        f"CIFAR_CNN_CODE=kept uses the copy in {CODE}"
    ]
    monkeypatch.setenv(kept_code.VARIABLE, "kept")
    assert torch.equal(probabilities(), expected)
    assert not caplog.records
    assert "own_net" not in sys.modules
    (work / "own_net.py").unlink()
    assert torch.equal(probabilities(), expected)
    monkeypatch.setenv(kept_code.VARIABLE, "")
    with pytest.raises(InputError, match="there is no module 'own_net'"):
        probabilities()
    assert caplog.messages[1].startswith("own_net.py, used to train lightning_logs/version_0, was not found")


def test_kept_code_of_another_user_is_not_imported(work: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (work / "own_net.py").unlink()
    monkeypatch.setenv(kept_code.VARIABLE, "kept")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "of another"))
    with trust.import_policy(), kept_code.unloading_copies():
        with pytest.raises(InputError, match=r"own_net\.Net was not imported: it is not trusted"):
            load_trained(CHECKPOINT)
        assert "own_net" not in sys.modules


def test_kept_code_that_was_changed_is_not_imported(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (work / "own_net.py").unlink()
    monkeypatch.setenv(kept_code.VARIABLE, "kept")
    (CODE / "own_net.py").write_text("raise SystemExit")
    with (
        trust.import_policy(),
        kept_code.unloading_copies(),
        pytest.raises(InputError, match="holds no copy of its code"),
    ):
        load_trained(CHECKPOINT)
    (CODE / "own_net.py").write_text(FILES["own_net.py"])


@pytest.mark.usefixtures("work")
def test_a_checkpoint_of_a_subclass_is_used_as_that_class(capsys: pytest.CaptureFixture[str]) -> None:
    with trust.import_policy(), kept_code.unloading_copies():
        trained = load_trained(CHECKPOINT).classifier
    assert type(trained).__name__ == "Distilled"
    assert trained.teacher[0].out_channels == 2  # type: ignore[union-attr, index]
    forget()
    assert cifar_cnn.cli.run(["test", *SMALL[-2:], "--trainer.enable_progress_bar", "false"]) == 0
    assert "Accuracy on the test images" in capsys.readouterr().out


@pytest.mark.usefixtures("work")
def test_a_checkpoint_of_a_script_is_used_as_its_class_while_that_script_runs(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import own_model  # type: ignore[import-not-found]

    class Script(own_model.Distilled):
        pass

    class Extended(own_model.Distilled):
        def __init__(self, given: object, **kwargs: object) -> None:
            super().__init__(**kwargs)

    for cls in (Script, Extended):
        cls.__module__, cls.__qualname__ = "__main__", cls.__name__
    others = {"Other": own_model.Distilled, "function": Mock(), "Extended": Extended}
    for name, part in {"Script": Script, **others}.items():
        monkeypatch.setattr(sys.modules["__main__"], name, part, raising=False)
    content = read_checkpoint(CHECKPOINT)
    for name in [*others, "Absent", "sys.exit"]:
        content["model"] = f"__main__.{name}"
        assert trained_as.classifier_class(content) is ImageClassifier, name
    content["model"] = "__main__.Script"
    with trust.import_policy():
        assert type(load_trained(CHECKPOINT, content).classifier) is Script
    assert not caplog.messages
    others["function"].assert_not_called()


def test_a_test_records_the_code_that_was_changed_after_the_training(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed_code() -> list[str]:
        forget()
        assert cifar_cnn.cli.run(["test", "--trainer.enable_progress_bar", "false"]) == 0
        result = json.loads((CODE.parent / "test.json").read_text())["changed_code"]
        assert list(read_run(CODE.parent).changed_code) == result
        return result

    (work / "own_package/parts.py").write_text("from torch import nn\nACTIVATION = nn.Tanh\n")
    assert changed_code() == ["own_package/parts.py"]
    report = (CODE.parent / "report.html").read_text()
    assert "tested with code that was changed after the training: own_package/parts.py" in report
    monkeypatch.setenv(kept_code.VARIABLE, "kept")
    assert changed_code() == []
    report = (CODE.parent / "report.html").read_text()
    assert "changed after the training" not in report


@pytest.mark.usefixtures("work")
def test_a_checkpoint_of_a_script_is_used_without_the_parts_of_its_training_step(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = read_checkpoint(CHECKPOINT)
    content["model"] = "__main__.Distilled"
    with trust.import_policy(), kept_code.unloading_copies():
        trained = load_trained(CHECKPOINT, content)
    assert type(trained.classifier) is ImageClassifier
    assert caplog.messages == [
        "The checkpoint was trained as __main__.Distilled, which cannot be imported here: loading its backbone into "
        "ImageClassifier, without its teacher, weight"
    ]
    monkeypatch.setattr(
        checkpoint_option, "read_checkpoint", lambda path: {**read_checkpoint(path), "model": "__main__.D"}
    )
    forget()
    assert cifar_cnn.cli.run(["test", *SMALL[-2:], "--trainer.enable_progress_bar", "false"]) == 0
    assert "Accuracy on the test images" in capsys.readouterr().out

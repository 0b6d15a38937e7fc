"""A foreign checkpoint or run sends no request, and writes only into its run folder and the cache folder."""

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from cifar_cnn.base.errors import InputError
from cifar_cnn.cli import foreign_run
from cifar_cnn.data import CIFAR10, CIFAR10DataModule, ImageFolder
from cifar_cnn.runs.checkpoints import Checkpoint, read_checkpoint
from cifar_cnn.runs.run import RunFolder
from cifar_cnn.trust import names as trust
from cifar_cnn.trust import ownership, pretrained
from tests.conftest import RunCommand

URL = "http://127.0.0.1:9/cifar.tar.gz"
OFFICIAL = {"class_path": "cifar_cnn.CIFAR10", "init_args": {"root": "elsewhere", "url": [URL, "file:///etc/passwd"]}}


@pytest.fixture
def somebody_else(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Use the key of a user who did not train the run; return the list of requests that are sent."""
    monkeypatch.setenv("XDG_STATE_HOME", str(Path("another user").absolute()))
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path("cache").absolute()))
    requests: list[str] = []

    def urlopen(request: Any, **kwargs: Any) -> Any:
        requests.append(request.full_url)
        raise OSError("no network")

    monkeypatch.setattr("cifar_cnn.base.download.urlopen", urlopen)
    return requests


def copied(run: Path, **data: Any) -> Path:
    """Copy a run's folder, and change the data options in its checkpoints."""
    copy = Path(shutil.copytree(run, "lightning_logs/version_7"))
    for path in copy.glob("checkpoints/*.ckpt"):
        content = torch.load(path, weights_only=True)
        content["datamodule_hyper_parameters"].update(data)
        torch.save(content, path)
    return copy


def test_a_checkpoint_is_recognized_by_its_signature(trained_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = read_checkpoint(trained_run / "checkpoints/best.ckpt")
    assert ownership.is_own(content)
    assert ownership.may_download(content)
    # The signature of another checkpoint of the same user does not sign other images.
    other = {**content, "datamodule_hyper_parameters": {**content["datamodule_hyper_parameters"], "source": OFFICIAL}}
    assert not ownership.is_own(other)
    assert not ownership.is_own({name: value for name, value in content.items() if name != ownership.KEY})
    monkeypatch.setenv(ownership.VARIABLE, "other, cifar_cnn")
    assert ownership.may_download(other)
    monkeypatch.setenv("XDG_STATE_HOME", str(Path("another user").absolute()))
    assert not ownership.is_own(content)


def test_a_config_is_recognized_by_its_last_line(trained_run: Path) -> None:
    text = (trained_run / "config.yaml").read_text()
    assert ownership.is_own_text(text)
    assert "model" in yaml.safe_load(text)
    assert not ownership.is_own_text(text.replace("max_epochs: 2", "max_epochs: 3"))
    assert not ownership.is_own_text(text + "trainer: {profiler: simple}\n")
    assert not ownership.is_own_text("")


PARTS: dict[str, Any] = {
    "callbacks": [{"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"dirpath": "elsewhere"}}],
    "logger": {"class_path": "CSVLogger", "init_args": {"save_dir": "elsewhere"}},
    "profiler": "SimpleProfiler",
    "plugins": "lightning.pytorch.plugins.TorchCheckpointIO",
    "strategy": {"class_path": "lightning.pytorch.strategies.DeepSpeedStrategy"},
    "accelerator": {"class_path": "CPUAccelerator"},
    "default_root_dir": "/elsewhere",
    "model_registry": "elsewhere",
}


@pytest.mark.parametrize("name", PARTS)
def test_parts_that_send_or_write_are_left_out(name: str) -> None:
    assert ownership.without_parts({"max_epochs": 3, name: PARTS[name]}) == ({"max_epochs": 3}, [f"trainer.{name}"])


def test_other_options_of_the_trainer_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"logger": False, "strategy": "ddp", "accelerator": "cpu", "max_epochs": 3, "callbacks": ["own.Callback"]}
    assert ownership.without_parts(options) == (options, [])
    mixed = {"callbacks": [*PARTS["callbacks"], "own.Callback"]}
    assert ownership.without_parts(mixed) == ({"callbacks": ["own.Callback"]}, ["trainer.callbacks"])
    monkeypatch.setenv(ownership.VARIABLE, "lightning.pytorch")
    assert ownership.without_parts(mixed) == (mixed, [])


def test_a_foreign_config_is_used_without_these_parts(
    trained_run: Path, somebody_else: list[str], caplog: pytest.LogCaptureFixture, run_command: RunCommand
) -> None:
    run = copied(trained_run)
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["trainer"].update(PARTS)
    config["data"]["source"] = OFFICIAL
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    path = run / "checkpoints/last.ckpt"
    checkpoint = Checkpoint(path, read_checkpoint(path))
    own = foreign_run.own_config([], "fit", checkpoint)
    with caplog.at_level(logging.WARNING), foreign_run.with_own_config([], own) as options:
        used = yaml.safe_load(Path(options[1]).read_text())
    assert not set(used["trainer"]) & set(PARTS)
    assert used["trainer"]["max_epochs"] == 2
    assert used["data"]["source"]["init_args"] == {"root": "elsewhere"}
    (message,) = caplog.messages
    assert message.startswith(f"{run}/config.yaml is not from one of your runs: ignoring its trainer.callb")
    assert message.endswith(f"data.source.url. To use these settings, pass them with --config {run}/config.yaml")
    assert foreign_run.decides_images([], own, checkpoint)
    for given in (["--config", str(run / "config.yaml")], ["--data.source=Shapes"], ["--data.source.root", "here"]):
        own = foreign_run.own_config(given, "fit", checkpoint)
        assert not foreign_run.decides_images(given, own, checkpoint)
    config["trainer"] = "other.yaml"
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    message = run_command.refused("fit", "--ckpt_path", path)
    assert message.endswith("config.yaml: trainer must be a mapping, not 'other.yaml'; copy it again")
    assert not Path("elsewhere").exists()


def test_the_users_own_config_is_used_unchanged(trained_run: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = trained_run / "checkpoints/last.ckpt"
    checkpoint = Checkpoint(path, read_checkpoint(path))
    own = foreign_run.own_config(["--x"], "fit", checkpoint)
    with foreign_run.with_own_config(["--x"], own) as options:
        assert options == ["--config", str(trained_run / "config.yaml"), "--x"]
    assert not foreign_run.decides_images([], own, checkpoint)
    assert not caplog.messages


def test_images_of_a_foreign_checkpoint_are_not_downloaded(
    trained_run: Path, somebody_else: list[str], run_command: RunCommand
) -> None:
    run = copied(trained_run, source=OFFICIAL)
    message = run_command.refused("test", "--ckpt_path", run)
    assert message.startswith("CIFAR-10 is not in elsewhere, and is not downloaded for a checkpoint that you have not")
    run_command("report", run)
    for command in ("explain", "export"):
        run_command.refused(command, run)
    datamodule = RunFolder(run).datamodule
    assert isinstance(datamodule.source, CIFAR10)
    assert datamodule.source.urls == CIFAR10().urls
    with pytest.raises(InputError, match="set CIFAR_CNN_TRUST=cifar_cnn"):
        datamodule.prepare_data()
    assert not somebody_else
    assert not Path("elsewhere").exists()
    # If the user names the folder, the archive is downloaded, but not from the checkpoint's address.
    assert "could not be downloaded" in run_command.refused("test", "--ckpt_path", run, "--data.source.root", "here")
    assert somebody_else == CIFAR10().urls


def test_images_of_a_foreign_checkpoint_are_cached_in_the_users_folder(
    image_folder: Path, trained_run: Path, somebody_else: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = read_checkpoint(trained_run / "checkpoints/best.ckpt")
    source = {"class_path": "cifar_cnn.ImageFolder", "init_args": {"root": str(image_folder), "cache": "elsewhere"}}

    def loaded() -> None:
        data = trust.instantiate(CIFAR10DataModule, {"source": source}, content)
        assert isinstance(data.source, ImageFolder)
        data.source.load("test")

    loaded()
    assert list(Path("cache").rglob("*.npz"))
    assert not Path("elsewhere").exists()
    assert not (image_folder / ".cifar_cnn_cache").exists()
    monkeypatch.setenv(ownership.VARIABLE, "cifar_cnn")
    loaded()
    assert list(Path("elsewhere").rglob("*.npz"))


def test_pretrained_weights_are_not_downloaded_for_a_foreign_checkpoint(
    somebody_else: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.models import ResNet18_Weights, resnet18

    downloaded: list[str] = []
    load: Callable[..., Any] = lambda url, **kwargs: downloaded.append(url)  # noqa: E731
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", load)
    with trust.import_policy():
        trust.restrict_to({})
        pretrained.defer_downloads()
        network = resnet18(weights=ResNet18_Weights.DEFAULT)
        with pytest.raises(InputError, match="you did not train this checkpoint, so they are not downloaded"):
            pretrained.load_missing(network, {})
    assert not downloaded
    assert os.listdir() == []

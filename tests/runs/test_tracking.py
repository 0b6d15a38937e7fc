import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from jsonargparse import Namespace
from lightning.pytorch.loggers import CSVLogger

from cifar_cnn.runs.tracking import add_ids, log_picture, recorded_as
from tests.conftest import CONFIGS, PICTURES, SMALL, RunCommand


class AimLogger:
    """Stands in for Aim's logger, which is recognized by its name."""

    def __init__(self, run_hash: str) -> None:
        self.version = run_hash
        self.experiment = object()


class Subclass(AimLogger):
    pass


def test_the_id_of_a_record_is_added_to_its_own_logger() -> None:
    logger: Any = Subclass("4f")
    assert recorded_as(logger) == ("run_hash", "4f")
    csv = CSVLogger("logs")
    assert recorded_as(csv) is None
    section = Namespace(class_path="mine.Subclass", init_args=Namespace(run_hash=None))
    add_ids(section, [csv, logger])
    assert section.init_args.run_hash == "4f"
    plain = Namespace(class_path="CSVLogger", init_args=Namespace(save_dir="logs"))
    other = Namespace(class_path="mine.Subclass", init_args=Namespace(run_hash="old"))
    add_ids([plain, other], [csv, logger])
    assert plain.init_args == Namespace(save_dir="logs")
    assert other.init_args.run_hash == "4f"
    nothing: tuple[Any, ...] = (None, True, [], Namespace(class_path="mine.Subclass"))
    for each in nothing:
        add_ids(each, [csv, logger])
    log_picture(csv, "filters/first", np.zeros((2, 2, 3), np.uint8), 0)  # CSVLogger takes no pictures


def fitted_and_resumed(run_command: RunCommand, *logger: str) -> Any:
    """Fit, resume and test with a logger; return the ID that config.yaml records."""
    config: list[str | Path] = [
        "--config",
        CONFIGS / "quickstart.yaml",
        *SMALL,
        *PICTURES,
        "--trainer.log_every_n_steps",
        "4",
    ]
    fit = run_command("fit", *config, "--trainer.max_epochs", "1", "--trainer.logger", *logger)
    assert fit.status == 0, fit.err
    assert run_command("fit", "--ckpt_path", "last", "--trainer.max_epochs", "2").status == 0
    assert run_command("test", "--report", "false").status == 0
    (run,) = Path("lightning_logs").iterdir()
    section = yaml.safe_load((run / "config.yaml").read_text())["trainer"]["logger"]["init_args"]
    fit_json = json.loads((run / "fit.json").read_text())
    (found,) = fit_json["loggers"].values()
    assert fit_json["earlier"][0]["loggers"] == fit_json["loggers"]
    assert found in section.values()
    return found


def test_mlflow_holds_curves_config_pictures_and_test_in_one_run(run_command: RunCommand) -> None:
    tracking = pytest.importorskip("mlflow.tracking")
    found = fitted_and_resumed(run_command, "MLFlowLogger", "--trainer.logger.tracking_uri", "sqlite:///mlflow.db")
    client = tracking.MlflowClient("sqlite:///mlflow.db")
    experiment = client.get_experiment_by_name("lightning_logs")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_id == found
    assert [each.step for each in client.get_metric_history(found, "val/accuracy")] == [7, 15]
    assert run.data.metrics["test/accuracy"] >= 0
    assert run.data.metrics["test/nll"] > 0
    assert run.data.params["batch_size"] == "32"
    pictures = [each.path for each in client.list_artifacts(found, "filters")]
    assert pictures[0] == "filters/first_000000.png"
    assert len(pictures) >= 4


@pytest.fixture
def finish_wandb() -> Callable[[], None]:
    wandb = pytest.importorskip("wandb")
    if not hasattr(wandb, "init"):
        pytest.skip("this folder is not the package")
    return wandb.finish


def test_wandb_continues_the_same_run_offline(
    run_command: RunCommand, finish_wandb: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    resumed = RunCommand.__call__

    def each_in_a_process_of_its_own(self: RunCommand, *words: str | Path) -> Any:
        finished = resumed(self, *words)
        finish_wandb()
        return finished

    monkeypatch.setattr(RunCommand, "__call__", each_in_a_process_of_its_own)
    found = fitted_and_resumed(run_command, "WandbLogger", "--trainer.logger.offline", "true")
    folders = sorted(Path("wandb").glob("offline-run-*"))
    assert folders
    assert all(folder.name.endswith(found) for folder in folders)
    content = b"".join(file.read_bytes() for folder in folders for file in folder.glob("run-*.wandb"))
    for key in (b"val/accuracy", b"test/accuracy", b"filters/first", b"batch_size"):
        assert key in content
    assert len(list(Path("wandb").glob("offline-run-*/files/media/images/filters/first_*.png"))) >= 2


def test_aim_continues_the_same_run(run_command: RunCommand) -> None:
    aim = pytest.importorskip("aim")
    logger = "aim.pytorch_lightning.AimLogger"
    plain = ["system_tracking_interval", "null", "capture_terminal_logs", "false", "log_system_params", "false"]
    quiet = [f"--trainer.logger.{word}" if i % 2 == 0 else word for i, word in enumerate(plain)]
    found = fitted_and_resumed(run_command, logger, "--trainer.logger.repo", ".", *quiet)
    assert list(aim.Repo(".").list_all_runs()) == [found]

import json
import shutil
from pathlib import Path

import pytest

import cifar_cnn.cli
from cifar_cnn.analysis.runs import row
from cifar_cnn.runs.run import RunFolder
from tests.conftest import CONFIGS, SMALL


def test_runs_are_listed_with_their_figures(trained_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(trained_run, "lightning_logs/version_0")
    shutil.copytree(trained_run, "lightning_logs/version_10")
    record = json.loads(Path("lightning_logs/version_10/fit.json").read_text())
    Path("lightning_logs/version_10/fit.json").write_text(json.dumps({**record, "finished": None, "status": "running"}))
    Path("lightning_logs/version_2").mkdir()
    assert cifar_cnn.cli.run(["runs"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["run", "name", "epochs", "val", "test", "started", "time", "status"]
    assert [line.split()[0] for line in lines] == ["version_0", "version_2", "version_10"]
    test = json.loads((trained_run / "test.json").read_text())["accuracy"]
    assert lines[0].split()[1:5] == ["quickstart", "2", "10.00%", f"{test:.2%}"]
    assert [line.split()[-1] for line in lines] == ["finished", "failed", "interrupted"]
    assert lines[1].split()[1:7] == ["-", "0", "-", "-", "-", "-"]


def test_a_folder_without_runs_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cifar_cnn.cli.run(["runs", "nowhere"]) == 2
    assert "there are no runs in nowhere: train one with `cifar-cnn fit`" in capsys.readouterr().err


def test_a_run_has_its_given_name(capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1"]
    arguments = ["fit", "--config", str(CONFIGS / "quickstart.yaml"), *SMALL, *few, "--name", "my baseline"]
    assert cifar_cnn.cli.run(arguments) == 0
    run = RunFolder("lightning_logs/version_0")
    assert (run.name, run.record["name"], run.config["name"]) == ("my baseline",) * 3
    assert row(run)[1] == "my baseline"
    assert cifar_cnn.cli.run(["fit", "--ckpt_path", "last", "--trainer.max_epochs", "2"]) == 0
    assert run.name == run.record["name"] == "my baseline"

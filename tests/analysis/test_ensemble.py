import json
import shutil
from pathlib import Path

import pytest
import torch

from cifar_cnn.analysis.ensemble import ensemble
from cifar_cnn.analysis.run import load_run
from cifar_cnn.runs.checksum import checksum
from cifar_cnn.runs.predictions import read_predictions
from tests.conftest import RunCommand


@pytest.fixture
def two(trained_run: Path) -> list[Path]:
    """A tested run, and an untested copy of it with different weights."""
    for name in ("a", "b"):
        shutil.copytree(trained_run, name)
    content = torch.load("b/checkpoints/best.ckpt", weights_only=True)
    content["state_dict"] = {
        name: value * 1.1 if value.is_floating_point() else value for name, value in content["state_dict"].items()
    }
    torch.save(content, "b/checkpoints/best.ckpt")
    return [Path("a"), Path("b")]


def test_the_mean_of_the_probabilities_is_tested(two: list[Path], run_command: RunCommand) -> None:
    finished = run_command("ensemble", *two)
    assert finished.status == 0, finished.err
    assert "Ensemble of 2 runs on 50 test images" in finished.out
    assert "Written to lightning_logs/ensemble_0/ensemble.json" in finished.out
    result = json.loads(Path("lightning_logs/ensemble_0/ensemble.json").read_text())
    runs = [load_run(each) for each in two]
    assert runs[1].result["checkpoint_checksum"] == checksum(Path("b/checkpoints/best.ckpt"))  # tested by the command
    images = runs[0].images("test")
    mean = torch.stack([run.logits(images.images).softmax(1) for run in runs]).mean(0)
    right = mean.argmax(1) == images.labels
    found = result["ensemble"]
    assert found["accuracy"] == pytest.approx(right.float().mean().item())
    assert found["nll"] == pytest.approx(-mean[range(50), images.labels].log().mean().item(), rel=1e-4)
    per_class = [right[images.labels == i].float().mean().item() for i in range(10)]
    assert found["accuracy_per_class"] == pytest.approx(per_class)
    stored = read_predictions(Path("lightning_logs/ensemble_0/test_predictions.npz"))
    torch.testing.assert_close(stored.probabilities, mean, rtol=1e-3, atol=1e-5)
    for run, row in zip(runs, result["runs"], strict=True):
        for name in ("accuracy", "nll", "brier", "ece"):
            assert row[name] == pytest.approx(run.result[name], abs=1e-6)
    assert ensemble(runs).result == result
    run_command("ensemble", *reversed(two))
    assert [path.name for path in Path("lightning_logs").iterdir()] == ["ensemble_0"]


def test_no_file_of_a_run_is_replaced(two: list[Path], run_command: RunCommand) -> None:
    before = (two[0] / "test_predictions.npz").read_bytes()
    refused = run_command.refused("ensemble", *two, "--output", two[0])
    assert "a exists and is not the folder of an ensemble: choose another folder" in refused
    assert (two[0] / "test_predictions.npz").read_bytes() == before


def test_runs_that_do_not_fit_together_are_one_line(trained_run: Path, run_command: RunCommand) -> None:
    for name in ("a", "b", "c"):
        shutil.copytree(trained_run, name)
    test = json.loads(Path("b/test.json").read_text())
    test["tested_on"]["sha256"] = "0" * 64
    Path("b/test.json").write_text(json.dumps(test))
    content = torch.load("c/checkpoints/best.ckpt", weights_only=True)
    content["CIFAR10DataModule"]["class_names"].reverse()
    torch.save(content, "c/checkpoints/best.ckpt")
    for runs, message in (
        (["a"], "an ensemble needs two or more runs"),
        (["a", "./a/"], "given twice: a"),
        (["a", "b"], "b was tested on other images than a"),
        (["a", "c"], "c has other classes than a"),
        (["a", "b/checkpoints/last.ckpt"], "an ensemble uses the best checkpoint of each run: give b instead"),
    ):
        assert message in run_command.refused("ensemble", *runs)
    assert not Path("lightning_logs").exists()

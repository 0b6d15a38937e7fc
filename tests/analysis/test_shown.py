"""The images and predictions that a report shows."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import cifar_cnn.cli
from cifar_cnn.analysis import shown
from cifar_cnn.analysis.report.curves import read_metrics
from cifar_cnn.analysis.report.overview import validation_images
from cifar_cnn.analysis.run import load_run
from cifar_cnn.analysis.shown import Shown, find_shown
from cifar_cnn.callbacks.predictions import VAL_FILE_NAME
from cifar_cnn.runs.predictions import load_predictions
from cifar_cnn.runs.schemas import FitRecord
from tests.conftest import CONFIGS, SMALL


@pytest.fixture
def run(trained_run: Path) -> Path:
    """A copy of a tested run in the current folder."""
    return Path(shutil.copytree(trained_run, "run"))


@pytest.fixture
def unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if the network predicts all validation images."""
    monkeypatch.setattr(shown, "predict_validation", lambda *_: pytest.fail("all validation images were predicted"))


def test_without_a_test_the_stored_validation_predictions_are_shown(run: Path, unasked: None) -> None:
    (run / "test.json").unlink()
    found = find_shown(load_run(str(run)))
    kept = load_predictions(run / VAL_FILE_NAME, 10)
    assert kept is not None
    assert found.predictions is not None
    assert found.images is not None
    assert (found.split, found.missing, len(found.images)) == ("val", [], 40)
    assert torch.equal(found.predictions.logits, kept.logits)
    best = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    assert kept.step == best["global_step"]
    accuracy = (kept.classes == kept.labels).float().mean().item()
    assert accuracy == pytest.approx(max(read_metrics(run / "metrics.csv")["val/accuracy"][1]))


def test_stored_predictions_of_other_weights_are_computed_again(run: Path) -> None:
    (run / "test.json").unlink()
    with np.load(run / VAL_FILE_NAME) as arrays:
        kept = dict(arrays)
    for changed in ({"step": kept["step"] - 1}, {"logits": -kept["logits"]}, {"labels": kept["labels"][::-1]}):
        np.savez(run / VAL_FILE_NAME, **{**kept, **changed})
        found = find_shown(load_run(str(run)))
        assert found.predictions is not None
        np.testing.assert_allclose(found.predictions.logits, kept["logits"], rtol=1e-3, atol=1e-3)
        again = load_predictions(run / VAL_FILE_NAME, 10)
        assert again is not None
        assert again.step == kept["step"]


def test_only_the_images_of_a_limited_validation_are_shown(unasked: None, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["fit", "--config", str(CONFIGS / "quickstart.yaml"), *SMALL, "--trainer.max_epochs", "1"]
    command += ["--trainer.limit_train_batches", "2", "--data.eval_batch_size", "5", "--trainer.limit_val_batches", "3"]
    assert cifar_cnn.cli.run(command) == 0
    assert "accuracy on 15 of 40 images (trainer.limit_val_batches), of the best epoch" in capsys.readouterr().out
    run = load_run("lightning_logs/version_0")
    found = find_shown(run)
    assert found.predictions is not None
    assert found.images is not None
    assert len(found.images) == len(found.predictions.labels) == 15
    assert found.predictions.indices is not None
    whole = run.images("val")
    assert torch.equal(found.images.images, whole.images[found.predictions.indices])
    expected = "15 of 40 validation images (trainer.limit_val_batches)"
    assert validation_images(run.record, found) == expected


def test_a_test_of_images_that_have_changed_is_not_shown(run: Path, unasked: None) -> None:
    assert find_shown(load_run(str(run))).split == "test"
    test = json.loads((run / "test.json").read_text())
    test["tested_on"]["sha256"] = "0" * 64
    (run / "test.json").write_text(json.dumps(test))
    found = find_shown(load_run(str(run)))
    assert (found.split, found.test) == ("val", None)
    assert found.missing == [
        "Test results: the run's test images have changed since the test; run `cifar-cnn test` again"
    ]


def test_a_tile_names_the_number_of_validation_images_if_known() -> None:
    assert validation_images({}, Shown("test")) == "validation images"
    overfitted: FitRecord = {"images": {"validation": 40, "validated": 0, "validated_on_training": True}}
    assert "training batches themselves" in validation_images(overfitted, Shown("test"))
    assert validation_images({"images": {"validation": 40, "validated": 40}}, Shown("test")) == "40 validation images"

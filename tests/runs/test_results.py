import contextlib
import io
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

import cifar_cnn.cli
from cifar_cnn.base.errors import InputError
from cifar_cnn.data import CIFAR10, CIFAR100, Arrays, ImageFolder, Shapes
from cifar_cnn.runs.folders import result_path
from cifar_cnn.runs.results import ResultFiles, is_other_source
from tests.conftest import RunCommand

Capture = pytest.CaptureFixture[str]
QUIET = ["--trainer.enable_progress_bar", "false"]


def trained_on(image_folder: Path) -> Path:
    """Train and test on an image folder in which one class has no test images.

    The run is shorter than the interval between validations, and validates on only some of the images.
    """
    shutil.rmtree(image_folder / "test" / "blue thing")
    options = ["--data.source", "ImageFolder", "--data.source.root", str(image_folder), "--data.val_size", "10"]
    options += ["--model.backbone", "SimpleCNN", "--model.backbone.channels", "[2,2,2]", "--data.batch_size", "8"]
    options += ["--model.backbone.num_classes", "2", "--trainer.max_epochs", "1", "--data.eval_batch_size", "4"]
    options += ["--trainer.limit_val_batches", "2", "--trainer.check_val_every_n_epoch", "5"]
    options += ["--test_after_fit", "true", "--report", "false", *QUIET]
    assert cifar_cnn.cli.run(["fit", *options]) == 0
    return Path("lightning_logs/version_0")


class Closed(io.StringIO):
    """A pipe whose reader, such as ``head -3``, has exited before the figures are printed."""

    def write(self, text: str) -> int:
        if "Accuracy" in text:
            raise BrokenPipeError
        return super().write(text)


def written(run: Path, name: str) -> dict[str, Any]:
    found = json.loads((run / f"{name}.json").read_text())
    with np.load(run / f"{name}_predictions.npz") as predictions:
        assert len(predictions["labels"]) == found["images"]
    return found


def test_only_a_complete_test_of_the_best_checkpoint_on_the_runs_images_is_in_test_json(
    image_folder: Path, capsys: Capture
) -> None:
    run = trained_on(image_folder)
    output = capsys.readouterr().out
    assert "  blue thing        -  no images\n" in output
    assert "accuracy on 8 of 10 images (trainer.limit_val_batches), of the best epoch\n" in output
    fit = json.loads((run / "fit.json").read_text())
    assert (fit["images"]["validation"], fit["images"]["validated"]) == (10, 8)
    own = written(run, "test")
    assert own["accuracy_per_class"][0] is None
    assert own["images"] == own["tested_on"]["images"] == 10
    assert own["tested_on"]["root"] == str(image_folder)
    before = {name: (run / name).read_bytes() for name in ("test.json", "test_predictions.npz")}

    assert cifar_cnn.cli.run(["test", "--trainer.limit_test_batches", "2", *QUIET]) == 0
    assert written(run, "test_partial")["images"] == 8
    output = capsys.readouterr().out
    assert "Accuracy on 8 of 10 images (trainer.limit_test_batches)\n" in output
    assert f"Written to {run}/test_partial.json, not to test.json: not all images were tested\n" in output

    # Other images: only a test folder with the second class of the network.
    other = Path("other/test/röt")
    other.mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (32, 32), (200, 50 * number, 0)).save(other / f"{number}.png")
    assert cifar_cnn.cli.run(["test", "--trainer.limit_test_batches", "0", *QUIET]) == 2
    assert "nothing to test: trainer.limit_test_batches is 0" in capsys.readouterr().err
    root = ["--data.source.root", "other"]
    assert cifar_cnn.cli.run(["test", *root, *QUIET]) == 0
    (path,) = run.glob("test_images_*.json")
    found = written(run, path.stem)
    assert path.stem == f"test_images_{found['tested_on']['sha256'][:8]}"
    assert found["class_names"] == ["blue thing", "röt"]
    assert [sum(row) for row in found["confusion_matrix"]] == [0, 3]
    assert "not to test.json: these are not the run's own test images\n" in capsys.readouterr().out
    last = ["--ckpt_path", str(run / "checkpoints/last.ckpt"), "--trainer.limit_test_batches", "0.9"]
    assert cifar_cnn.cli.run(["test", *root, "--data.eval_batch_size", "1", "--name", "reds", *last, *QUIET]) == 0
    assert written(run, "test_last_reds_partial")["images"] == 2
    assert "a name was given for these images, and not all images were tested\n" in capsys.readouterr().out
    assert {name: (run / name).read_bytes() for name in before} == before
    assert not (run / "report.html").exists()

    # The same images in another folder are recognized by their fingerprint.
    shutil.copytree(image_folder / "test", "moved/test")
    (run / "test_predictions.npz").unlink()
    (run / "test.json").write_text(json.dumps({"tested_on": own["tested_on"]}))
    with contextlib.redirect_stdout(Closed()), pytest.raises(BrokenPipeError):  # handled in __main__
        cifar_cnn.cli.run(["test", "--data.source.root", "moved", "--report", "false", *QUIET])
    assert written(run, "test")["tested_on"]["sha256"] == own["tested_on"]["sha256"]

    (other / "../green").mkdir()
    assert cifar_cnn.cli.run(["test", *root, *QUIET]) == 2
    assert "has classes that the network (blue thing, röt) does not have: green" in capsys.readouterr().err


def test_result_files_are_named_by_the_differences(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.yaml").touch()
    best, last = tmp_path / "checkpoints/best.ckpt", tmp_path / "checkpoints/last.ckpt"
    assert result_path(best, ".json") == tmp_path / "test.json"
    assert result_path(last, ".json") == tmp_path / "test_last.json"
    assert result_path(best, "_predictions.npz", "blurred") == tmp_path / "test_blurred_predictions.npz"
    assert result_path(last, ".json", "blurred", True) == tmp_path / "test_last_blurred_partial.json"
    assert result_path("a/b/elsewhere.ckpt", ".json") is None
    for name in ("last", "a/b", "../x", "", "partial"):
        with pytest.raises(InputError, match="--name may contain letters"):
            ResultFiles(name)


def test_sources_are_compared_by_the_arguments_that_determine_their_images(image_folder: Path) -> None:
    module = "cifar_cnn.data.sources"
    folder: dict[str, Any] = {
        "class_path": f"{module}.ImageFolder",
        "init_args": {"root": str(image_folder), "cache": None},
    }
    source = ImageFolder(image_folder)
    assert not is_other_source(source, folder, folder)
    assert not is_other_source(source, folder, None)
    names = {**folder["init_args"], "cache": "elsewhere", "class_names": ["a"]}
    assert not is_other_source(source, {"init_args": names}, folder)
    assert is_other_source(source, {"init_args": {"root": "other"}}, folder)
    assert is_other_source(source, folder, {**folder, "class_path": f"{module}.Shapes"})
    assert is_other_source(Shapes(seed=1), {"init_args": {"seed": 1}}, {"class_path": f"{module}.Shapes"})
    moved = {"init_args": {"root": "elsewhere"}}
    assert not is_other_source(CIFAR10("elsewhere"), moved, {"class_path": f"{module}.CIFAR10"})
    coarse = {"init_args": {"labels": "coarse"}}
    assert is_other_source(CIFAR100(labels="coarse"), coarse, {"class_path": f"{module}.CIFAR100"})
    arrays = {"class_path": f"{module}.Arrays", "init_args": {"train": "a.npz", "test": "b.npz"}}
    own = {"init_args": {"test": os.path.abspath("b.npz"), "class_names": ["a"]}}
    assert not is_other_source(Arrays(test="b.npz"), own, arrays)
    assert is_other_source(Arrays(test="b.npz"), {"init_args": {"test": "b.npz", "test_rows": [0, 5]}}, arrays)


def test_runs_of_one_network_on_different_images_are_not_averaged(trained_run: Path, run_command: RunCommand) -> None:
    for seed, name in enumerate(("one", "two")):
        shutil.copytree(trained_run, name)
        config = yaml.safe_load(Path(name, "config.yaml").read_text())
        Path(name, "config.yaml").write_text(yaml.safe_dump({**config, "seed_everything": seed}))
    with np.load("two/test_predictions.npz") as arrays:
        changed = {**arrays, "images_sha256": np.array("others")}
    np.savez("two/test_predictions.npz", **changed)
    refused = run_command.refused("compare", "one", "two", "--output", "out")
    assert re.search(r"the runs of .* were tested on different images \(one and two\): delete", refused)
    Path("a.yaml").write_text("{}")
    refused = run_command.refused("compare", "a.yaml", "--trainer.limit_test_batches", "2")
    assert "all test images: remove --trainer.limit_test_batches" in refused

import json
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import cifar_cnn.cli
from cifar_cnn.analysis.run import Run, load_run
from cifar_cnn.base.errors import InputError
from tests.conftest import SMALL


@pytest.fixture(scope="module")
def run(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A copy of the tested run; tests may change it."""
    return load_run(shutil.copytree(trained_run, tmp_path_factory.mktemp("run") / "version_0"))


def test_a_run_describes_its_training(run: Run) -> None:
    assert (run.name, run.config_name, run.title) == ("quickstart", "quickstart", "SimpleCNN, head flatten")
    assert run.config["seed_everything"] == run.record["seed"] == 0
    assert type(run.model.backbone).__name__ == "SimpleCNN"
    assert not run.model.training
    assert run.class_names == run.data.class_names
    assert run.last.is_file()
    assert "quickstart" in repr(run)
    assert run.is_tested


def test_metrics_are_columns_with_a_value_for_each_epoch(run: Run) -> None:
    metrics = run.metrics
    assert metrics["epoch"] == [0, 1]
    assert all(len(values) == 2 for values in metrics.values())
    assert all(math.isfinite(value) for value in metrics["val/accuracy"])
    figure = run.curves()
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Loss", "Accuracy"]
    legend = figure.axes[1].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["training", "validation"]
    assert list(np.asarray(figure.axes[1].lines[1].get_ydata())) == metrics["val/accuracy"]


def test_metrics_frame_is_a_data_frame(run: Run) -> None:
    pytest.importorskip("pandas")
    frame = run.metrics_frame()
    assert list(frame["epoch"]) == [0, 1]
    assert list(frame["val/accuracy"]) == run.metrics["val/accuracy"]
    axes = frame.plot(x="epoch", y=["train/loss", "val/loss"])
    assert [line.get_label() for line in axes.lines] == ["train/loss", "val/loss"]


def test_a_data_frame_without_pandas_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match=r"metrics_frame needs pandas: pip install pandas, or use run\.metrics"):
        run.metrics_frame()


def test_logits_equal_those_of_the_test(run: Run) -> None:
    images = run.images("test").images
    kept = run.predictions("test")
    assert kept is not None
    logits = run.logits(images)
    torch.testing.assert_close(logits, kept.logits, rtol=1e-4, atol=1e-4)
    assert torch.equal(run.logits(images.permute(0, 2, 3, 1).numpy(), batch_size=7).argmax(1), logits.argmax(1))
    assert torch.equal(run.logits(images[3]), run.logits(images[3:4]))
    accuracy = (logits.argmax(1) == run.images("test").labels).float().mean().item()
    assert accuracy == pytest.approx(run.result["accuracy"])


@pytest.mark.parametrize(
    "images", [torch.zeros(2, 3, 32, 32), torch.zeros(2, 3, 31, 32, dtype=torch.uint8), np.zeros((32, 32), np.uint8)]
)
def test_images_of_another_type_or_size_are_one_line(run: Run, images: torch.Tensor) -> None:
    with pytest.raises(InputError, match=r"images must be uint8 of shape \(N, 3, 32, 32\)"):
        run.logits(images)


def test_pictures_are_classified(run: Run, tmp_path: Path) -> None:
    pixels = run.images("test").images[0].permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(tmp_path / "a.png")
    probabilities = run.logits(run.images("test").images[0]).softmax(1)[0]
    best = run.classify(tmp_path / "a.png", top=2)
    assert [name for name, _ in best] == [run.class_names[i] for i in probabilities.topk(2).indices]
    assert [p for _, p in best] == pytest.approx(probabilities.topk(2).values.tolist())
    assert run.classify([pixels, pixels.transpose(2, 0, 1)], top=2) == [best, best]
    assert len(run.classify(np.zeros((50, 70, 3), np.uint8), top=99)) == 10
    (tmp_path / "b.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"b\.png cannot be read as an image"):
        run.classify(tmp_path / "b.png")
    with pytest.raises(InputError, match="an image must be uint8"):
        run.classify(np.zeros((32, 32, 3)))


def test_figures_of_a_run(run: Run) -> None:
    confusion = run.confusion()
    cells = sum(int(text.get_text()) for text in confusion.axes[0].texts)
    assert cells == len(run.images("test")) == 50
    assert "features.0.weight" in run.filters().get_suptitle()
    assert "features.4.weight" in run.filters("features.4.weight").get_suptitle()
    with pytest.raises(InputError, match=r"no convolution 'head'; there are features\.0\.weight, features\.4\.weight"):
        run.filters("head")
    picture = run.images("test").images[0]
    predicted = run.classify(picture.numpy(), top=1)[0][0]
    assert run.grad_cam(picture.numpy()).axes[1].get_title() == f"evidence for {predicted}"


def test_a_notebook_shows_the_report_in_a_frame(run: Run) -> None:
    shown = run._repr_html_()
    assert shown.startswith("<iframe ")
    assert 'src="data:text/html;base64,' in shown
    assert run.report() == run.folder / "report.html"


def test_a_run_is_tested_as_by_the_command(run: Run, trained_run: Path) -> None:
    for name in ("test.json", "test_predictions.npz"):
        (run.folder / name).unlink()
    assert not run.is_tested
    result = load_run(run.folder).test()
    expected = json.loads((trained_run / "test.json").read_text())
    assert result == expected
    assert run.is_tested
    with np.load(run.folder / "test_predictions.npz") as ours, np.load(trained_run / "test_predictions.npz") as theirs:
        assert ours["images_sha256"] == theirs["images_sha256"]
        assert np.array_equal(ours["logits"], theirs["logits"])


def test_an_interrupted_run_has_no_metrics_yet(tmp_path: Path, run: Run) -> None:
    (tmp_path / "version_0").mkdir()
    empty = Run(tmp_path / "version_0")
    assert (empty.metrics, empty.result, empty.record, empty.name) == ({}, {}, {}, "version_0")
    assert not empty.is_tested
    with pytest.raises(InputError, match="no finished epoch"):
        empty.curves()
    with pytest.raises(InputError, match="no run in lightning_logs"):
        load_run()
    with pytest.raises(InputError, match="cannot be read"):
        _ = empty.config


def test_the_newest_run_is_loaded_by_default() -> None:
    arguments = ["fit", "--config", "t.yaml", *SMALL, "--trainer.limit_train_batches", "1", "--trainer.max_epochs", "1"]
    Path("t.yaml").write_text("model: {backbone: {class_path: SimpleCNN, init_args: {channels: [2, 2, 2]}}}")
    assert cifar_cnn.cli.run(arguments) == 0
    run = load_run()
    assert (run.folder.name, run.name) == ("version_0", "t")
    assert load_run(run.last).checkpoint.name == "last.ckpt"

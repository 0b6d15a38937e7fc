import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from benchmarks import input_pipeline, training
from benchmarks._conventional import Images, eval_transform
from benchmarks._measure import comparison, interleave, run
from cifar_cnn.data import ImageSet
from cifar_cnn.data.augment import normalize
from tests.conftest import CONFIGS


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def benchmark(capsys: pytest.CaptureFixture[str]) -> Callable[..., list[dict[str, Any]]]:
    """Runs a benchmark with tiny sizes and returns its comparisons."""

    def quick(name: str, *options: str) -> list[dict[str, Any]]:
        importlib.import_module(f"benchmarks.{name}").main(["--quick", "--threads", "1", *options])
        return comparisons(name, json.loads(capsys.readouterr().out))

    return quick


def comparisons(name: str, result: dict[str, Any]) -> list[dict[str, Any]]:
    """Check the common fields of a benchmark's result and return its comparisons."""
    assert result["benchmark"] == name
    assert result["options"]["seed"] == 0
    machine = result["machine"]
    assert machine["cpu"]
    assert machine["cores"] >= 1
    assert machine["versions"]["torch"] == torch.__version__.split("+")[0]
    for row in result["comparisons"]:
        for side in (row["ours"], row["other"], *row["other_forms"].values()):
            assert 0 < side["min"] <= side["median"] <= side["max"]
            assert len(side["values"]) == len(row["ours"]["values"]) >= 1
        assert row["ratio_spread"][0] <= row["ratio"] <= row["ratio_spread"][1]
        assert (row["met"] is None) is (row["goal"] is None)
    return result["comparisons"]


Run = Callable[..., list[dict[str, Any]]]


def test_input_pipeline(benchmark: Run) -> None:
    one_thread, two_threads, *further = benchmark("input_pipeline", "--threads", "2")
    assert [row["name"] for row in further] == list(input_pipeline.AUGMENTATIONS)
    assert one_thread["goal"] == "at least 4"
    assert one_thread["other"]["form"] == "0 workers"
    assert two_threads["goal"] == "at least 8"
    assert {two_threads["other"]["form"], *two_threads["other_forms"]} == {"0 workers", "2 workers"}


def test_the_bare_loop_equals_the_trainer(benchmark: Run) -> None:
    (row,) = benchmark("framework_overhead", "--configs", "simple_cnn_a")
    if not torch.cuda.is_available():
        assert row["largest_weight_difference"] == 0
    assert row["epoch_end_seconds"]["median"] > 0
    assert len(row["ours"]["values"]) == 2


def test_training(benchmark: Run) -> None:
    (row,) = benchmark("training", "--configs", "simple_cnn_a", "--precision", "bf16-mixed")
    assert row["precision"] == "bf16-mixed"
    assert row["epoch_seconds"]["ours"] == pytest.approx(50_000 / row["ours"]["median"], abs=0.01, rel=1e-3)
    assert {row["other"]["form"], *row["other_forms"]} == {"0 workers", "2 workers"}


def test_roofline_counts_the_multiply_adds_of_convolutions_and_products(benchmark: Run) -> None:
    (row,) = benchmark("roofline", "--configs", "simple_cnn_a")
    conv1, conv2 = 30 * 30 * 32 * 27, 13 * 13 * 64 * 288
    forward = conv1 + conv2 + 64 * 6 * 6 * 128 + 128 * 10
    # In the backward pass, each layer but the first computes gradients of its input and of its weights.
    assert row["gflop_an_image"] == round(2 * (3 * forward - conv1) / 1e9, 4)
    assert row["bfloat16_product"]["median"] > 0


def test_inference(benchmark: Run) -> None:
    test, predict = benchmark("inference")
    assert (test["name"], predict["name"]) == ("test", "predict")
    assert test["images"] == 20


def test_memory() -> None:
    # The benchmark has its own process: processes that it starts inherit its peak memory, and pytest's is too large.
    command = [sys.executable, "-m", "benchmarks.memory", "--quick", "--threads", "1"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=CONFIGS.parent)
    assert result.returncode == 0, result.stderr
    peaks, beyond = json.loads(result.stdout)["comparisons"]
    assert peaks["ours"]["median"] > peaks["other"]["median"] > 100  # MiB; torch alone needs more
    assert beyond["ours"]["median"] == pytest.approx(peaks["ours"]["median"] - peaks["other"]["median"], abs=1)
    assert beyond["other"]["median"] == pytest.approx(300 * 3 * 32 * 32 * 4 / 2**20, rel=1e-3)


def test_a_mistake_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["training", "--configs", "resnet81"])
    with pytest.raises(SystemExit) as exit_:
        run(training.main)
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("benchmarks: error: no config resnet81; available:")
    assert error.count("\n") == 1


def test_startup_and_the_table(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "startup", "--json", str(tmp_path / "results.json")]
    options = ["--quick", "--threads", "1", "--commands", "help", "unknown_command", "first_step"]
    result = subprocess.run([*command, "--", *options], capture_output=True, text=True, cwd=CONFIGS.parent)
    assert result.returncode == 0, result.stderr
    (measured,) = json.loads((tmp_path / "results.json").read_text())
    rows = comparisons("startup", measured)
    assert [row["name"] for row in rows] == ["help", "unknown_command", "first_step"]
    assert rows[2]["ours"]["median"] > rows[0]["ours"]["median"]
    head, rule, *lines, blank, machine = result.stdout.splitlines()
    for row, line in zip(rows, lines, strict=True):
        assert head.count("|") == rule.count("|") == line.count("|") == 8
        assert line.startswith(f"| startup | {row['name']} |")
        assert f"{row['ratio']:.3f}" in line
    assert blank == ""
    assert f"torch {torch.__version__.split('+')[0]}" in machine


def test_sides_alternate_and_the_first_round_is_not_counted() -> None:
    order: list[str] = []

    def side(name: str) -> Callable[[], float]:
        def work() -> float:
            order.append(name)
            return float(len(order))

        return work

    assert interleave({"a": side("a"), "b": side("b")}, rounds=2) == {"a": [3, 5], "b": [4, 6]}
    assert order == ["a", "b"] * 3


def test_the_ratio_is_taken_per_round_and_to_the_better_form() -> None:
    others = {"slow": [1.0, 2.0, 1.0], "fast": [2.0, 4.0, 4.0]}
    row = comparison("x", "images/s", [4.0, 8.0, 4.0], others, higher_is_better=True, goal=("at least", 2.0))
    assert row["other"]["form"] == "fast"
    assert row["ratio"] == 2.0
    assert row["ratio_spread"] == [1.0, 2.0]
    assert row["met"] is True
    row = comparison("x", "s", [4.0, 8.0, 4.0], others, higher_is_better=False, goal=("at most", 1.02))
    assert row["other"]["form"] == "slow"
    assert row["ratio"] == 4.0
    assert row["met"] is False


def test_both_sides_see_the_same_pixels(make_images: Callable[..., ImageSet]) -> None:
    image_set = make_images(6, size=32)
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
    (images, labels), *rest = DataLoader(Images(image_set, eval_transform((mean, std))), batch_size=6)
    torch.testing.assert_close(images, normalize(image_set.images, torch.tensor(mean), torch.tensor(std)))
    assert torch.equal(labels, image_set.labels)
    assert not rest


def test_speedrun_runs_both_sides(
    image_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, warm_python: str
) -> None:
    monkeypatch.setattr(sys, "executable", warm_python)
    importlib.import_module("benchmarks.speedrun").main(["--root", str(image_folder), "--seeds", "3", "--limit", "1"])
    result = json.loads(capsys.readouterr().out)
    for side in ("command", "bare_loop"):
        (one,) = result["runs"][side]
        assert one["seed"] == 3
        assert 0 <= one["accuracy"] <= 1
        assert 0 <= one["accuracy_without_tta"] <= 1
        assert one["seconds"] > 0
        assert one["steps"] == 8
    assert result["bare_loop"]["ratio"] == result["command"]["seconds"] / result["bare_loop"]["seconds"]
    assert result["bare_loop"]["ratio_per_step"] == pytest.approx(result["bare_loop"]["ratio"])

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import cifar_cnn.cli
from cifar_cnn.analysis.report.environment import seed_of
from cifar_cnn.analysis.statistics import difference
from cifar_cnn.data import CIFAR10DataModule, Shapes
from tests.conftest import CONFIGS, SMALL, RunCommand

RUN = Path("lightning_logs/version_0")


def test_a_run_without_a_seed_says_so_and_a_resumed_one_keeps_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")  # left by an earlier run in this process
    torch.manual_seed(123)
    command = ["fit", "--config", str(CONFIGS / "quickstart.yaml"), *SMALL, "--seed_everything", "false"]
    assert cifar_cnn.cli.run([*command, "--trainer.max_epochs", "1"]) == 0
    fit = json.loads((RUN / "fit.json").read_text())
    assert (fit["seed"], fit["order_seed"]) == (None, 123)
    assert seed_of(fit) == "not seeded (image order and augmentation: seed 123)"

    torch.manual_seed(7)
    assert cifar_cnn.cli.run(["fit", "--ckpt_path", "last", "--trainer.max_epochs", "2", *SMALL[-2:]]) == 0
    fit = json.loads((RUN / "fit.json").read_text())
    assert (fit["seed"], fit["order_seed"]) == (None, 123)


def test_the_seed_of_the_order_is_reported_if_it_differs_from_the_runs() -> None:
    assert seed_of({}) == "not recorded"
    assert seed_of({"seed": 3, "order_seed": 3}) == "seed 3"
    assert seed_of({"seed": 3, "order_seed": 5}) == "seed 3 (image order and augmentation: seed 5)"


def test_the_order_follows_the_seed_of_the_data_then_of_the_run_then_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "4")
    assert CIFAR10DataModule(Shapes(), seed=5).order_seed == 5
    assert CIFAR10DataModule(Shapes()).order_seed == 4
    monkeypatch.delenv("PL_GLOBAL_SEED")
    torch.manual_seed(6)
    assert CIFAR10DataModule(Shapes()).order_seed == 6


def test_runs_without_a_seed_are_not_paired_and_have_no_seed_in_tables(
    trained_run: Path, run_command: RunCommand
) -> None:
    import shutil

    runs = []
    for index in range(3):
        runs.append(Path(f"run_{index}"))
        shutil.copytree(trained_run, runs[-1])
        config = yaml.safe_load((runs[-1] / "config.yaml").read_text())
        config["seed_everything"] = False if index else 0
        (runs[-1] / "config.yaml").write_text(yaml.safe_dump(config))
    finished = run_command("compare", *runs, "--output", "out")
    assert finished.status == 0
    content = json.loads(Path("out/compare.json").read_text())
    assert [(row["seed"], row["folder"]) for row in content["runs"]] == [(0, "run_0"), (None, "run_1"), (None, "run_2")]
    assert [row["n"] for row in content["networks"]] == [3]
    assert Path("out/runs.csv").read_text().splitlines()[2].split(",")[1] == ""
    assert "not seeded (seed_everything false): quickstart." in finished.out

    unseeded = difference({"run_1": 0.5, "run_2": 0.6}, {"run_3": 0.7, "run_4": 0.8})
    assert not unseeded.paired
    assert unseeded.mean == pytest.approx(0.2)
    right = {"a": np.array([True])}
    assert difference({"a": 1.0}, {"b": 1.0}, right, {"b": np.array([True])}).mcnemar_p == 1

"""Fits that are killed, stopped by signals, damaged, or started side by side: see tests/harness/killed.py."""

import os
import re
from typing import Any

import pytest

from tests.conftest import run_forked
from tests.harness import killed

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the fits are forked")


@pytest.fixture(scope="module")
def fits(tmp_path_factory: pytest.TempPathFactory, warm_python: str) -> dict[str, Any]:
    return run_forked(warm_python, "tests.harness.killed", tmp_path_factory.mktemp("fits"))


def test_a_fit_killed_at_any_moment_resumes_to_the_same_result(fits: dict[str, Any]) -> None:
    assert len(fits["kills"]) == 20
    for fit in fits["kills"]:
        assert fit["status"] == 0, fit["output"]
        assert fit["different"] == [], fit["variant"]
    # A fit may end before its moment comes, but few do.
    assert sum(fit["killed"][0] == -9 for fit in fits["kills"]) >= 15
    assert {fit["variant"] for fit in fits["kills"] if fit["killed"][0] == -9} == set(killed.VARIANTS)


def test_the_record_of_a_killed_fit_is_kept_when_it_is_resumed(fits: dict[str, Any]) -> None:
    for fit in fits["kills"]:
        first, *others = fit["records"]
        ended = fit["record"]
        assert "--trainer.max_epochs 3" in first["command"]
        assert first["seed"] == 0
        assert first["versions"]["torch"]
        source = "cifar_cnn.data.sources.shapes.Shapes"
        images = {"source": source, "train": 96, "validation": 24, "classes": 10, "size": 16}
        assert first["images"].items() >= images.items()
        assert ended["command"].endswith("--ckpt_path last")
        assert ended["finished"] >= ended["started"]
        assert ended["steps"] > 0
        # The second of two killed fits may have ended before it wrote its own record.
        killed = [first, *(other for other in others if other != first)]
        assert [record["started"] for record in ended["earlier"]] == [record["started"] for record in killed]
        assert not any("earlier" in record for record in ended["earlier"])
    # A fit may end before its moment comes, but few do.
    assert sum(fit["records"][0]["finished"] is None for fit in fits["kills"]) >= 15


def test_a_signal_saves_a_checkpoint_and_prints_how_to_resume(fits: dict[str, Any]) -> None:
    for fit in fits["signals"]:
        assert fit["ended"] == 128 + fit["signal"], fit["output"]
        name = {2: "Ctrl-C", 15: "SIGTERM"}[fit["signal"]]
        assert (
            f"cifar-cnn: stopped by {name} at step {fit['step']}: everything is saved; resume with  cifar-cnn fit "
            "--ckpt_path lightning_logs/version_0/checkpoints/last.ckpt\n" in fit["output"]
        )
        assert "Traceback" not in fit["output"]
        assert fit["status"] == 0, fit["output"]
        assert fit["different"] == []


def test_a_second_signal_ends_a_fit_at_once_and_reports_the_saved_step(fits: dict[str, Any]) -> None:
    for fit in fits["signals_again"]:
        assert fit["ended"] == 128 + fit["signal"], fit["output"]
        assert "Traceback" not in fit["output"]
        (line,) = [line for line in fit["output"].splitlines() if line.startswith("cifar-cnn: ")]
        what = {2: "interrupted", 15: "ended by SIGTERM"}[fit["signal"]]
        assert re.match(rf"cifar-cnn: {what}: .*saved.*; resume with  cifar-cnn fit --ckpt_path lightning_logs/", line)
        assert fit["status"] == 0
        assert fit["different"] == []


def test_a_signal_before_the_first_step_leaves_no_folder_and_says_so(fits: dict[str, Any]) -> None:
    for fit in fits["signals_before"]:
        assert fit["ended"] == 128 + fit["signal"], fit["output"]
        what = {2: "interrupted", 15: "ended by SIGTERM"}[fit["signal"]]
        *_, line = fit["output"].splitlines()
        assert line == f"cifar-cnn: {what}: nothing is saved"
        assert "SIGTERM: 15" not in fit["output"]
        assert "Traceback" not in fit["output"]
        assert fit["runs"] == []


def test_a_damaged_last_checkpoint_is_replaced_by_the_previous_one(fits: dict[str, Any]) -> None:
    for fit in fits["damages"]:
        assert fit["status"] == 0, fit["output"]
        assert fit["different"] == [], fit["damage"]
        said = re.findall(r"last\.ckpt is .*damaged.*: resuming from previous\.ckpt \(step \d+\)", fit["output"])
        assert len(said) == (fit["damage"] != "gone"), fit["output"]


def test_fits_started_at_once_have_separate_folders_and_lose_no_rows(fits: dict[str, Any]) -> None:
    result = fits["side_by_side"]
    assert result["status"] == [0] * 8
    assert result["runs"] == [f"version_{i}" for i in range(8)]
    assert sorted(result["seeds"]) == list(range(8))
    assert result["records"] == result["seeds"]
    assert result["rows"] == [9] * 8  # a header, six steps, the epoch's validation and its averages

"""Fits of several processes, and fits that need the same data at once: see tests/harness/several.py."""

import csv
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from lightning.fabric.plugins.environments.lightning import find_free_network_port
from torch import distributed

import cifar_cnn.cli
from cifar_cnn import distributed as processes
from tests.conftest import CONFIGS, run_forked
from tests.harness import several
from tests.harness.killed import RUN

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks, and looks into /proc")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory, warm_python: str) -> dict[str, Any]:
    return run_forked(warm_python, "tests.harness.several", tmp_path_factory.mktemp("ranks"))


def rows(metrics: str) -> list[dict[str, float]]:
    """The rows of a metrics.csv without the times."""
    return [
        {name: float(value) for name, value in row.items() if value and name != "epoch_seconds"}
        for row in csv.DictReader(metrics.splitlines())
    ]


def test_metrics_over_uneven_shares_equal_those_of_one_process(ranks: dict[str, Any]) -> None:
    shares = {name: result for name, result in ranks["shares"].items() if name.startswith("test by")}
    alone = shares.pop("test by 1, 103")
    assert list(shares) == ["test by 2, 10", "test by 4, 10", "test by 2, 51"]
    assert alone["test"]["images"] == 103
    for name, result in shares.items():
        assert result["status"] == [0, 0], result["output"]
        test, expected = result["test"], alone["test"]
        for metric in ("accuracy", "loss", "accuracy_top5", "accuracy_per_class"):
            assert test[metric] == pytest.approx(expected[metric], abs=1e-6), (name, metric)
        assert test["confusion_matrix"] == expected["confusion_matrix"]
        assert sum(map(sum, test["confusion_matrix"])) == 103
        assert test["labels"] == expected["labels"]
        assert test["images_sha256"] == expected["images_sha256"]
        for logits, alone_logits in zip(test["logits"], expected["logits"], strict=True):
            assert logits == pytest.approx(alone_logits, abs=1e-5)
        assert len(result["validations"]) == int(name.split()[2].rstrip(","))
        for values in result["validations"]:
            assert values == pytest.approx(alone["validations"][0], abs=1e-6)


def test_two_processes_with_half_the_batch_give_the_same_result_as_one(ranks: dict[str, Any]) -> None:
    one, two = ranks["shares"]["fit by 1"], ranks["shares"]["fit by 2"]
    assert (one["status"], two["status"]) == (0, 0), two["output"]
    assert one["files"] == two["files"]
    assert len([name for name in one["files"] if name.endswith(("report.html", "test.json", "metrics.csv"))]) == 3
    # Values of a single step cover only process 0's share; all others cover all images.
    alone, together = ([row for row in rows(fit["metrics.csv"]) if "train/loss_step" not in row] for fit in (one, two))
    assert len(alone) == 4 * 2 + 1  # validation and averages of each epoch, and the test
    assert [row.keys() for row in together] == [row.keys() for row in alone]
    for row, expected in zip(together, alone, strict=True):
        assert row == pytest.approx(expected, abs=1e-5)
    steps = [[row["step"] for row in rows(fit["metrics.csv"]) if "train/loss_step" in row] for fit in (one, two)]
    assert steps[0] == steps[1] == list(range(20))
    assert "Warn" not in two["output"]
    assert "warn" not in two["output"]
    assert two["output"].count("Trained     Plain") == 1


def test_a_failure_of_another_process_at_the_very_end_is_reported(ranks: dict[str, Any]) -> None:
    crash = ranks["shares"]["crash at the end"]
    assert crash["status"] == 1
    assert crash["output"].endswith("\ncifar-cnn: all files are written, but process 1 ended with status 3\n"), crash[
        "output"
    ]
    assert "Validation  " in crash["output"]


@pytest.mark.parametrize("signal", ["SIGKILL", "SIGTERM"])
@pytest.mark.parametrize("rank", [0, 1])
def test_two_processes_stop_together_and_resume_to_the_same_result(
    ranks: dict[str, Any], signal: str, rank: int
) -> None:
    (fit,) = [fit for fit in ranks["losses"] if (fit["signal"], fit["rank"]) == (signal, rank)]
    assert fit["seconds"] < 30
    if signal == "SIGTERM":
        assert fit["status"] == 128 + 15
        what = "stopped by SIGTERM at step "
    else:
        assert fit["status"] == (-9 if rank == 0 else 1)
        what = "process 0 has ended: " if rank == 0 else "process 1 was killed by SIGKILL: "
    lines = [line for line in fit["output"].splitlines() if line.startswith("cifar-cnn: ")]
    assert len(lines) == 1, fit["output"]
    assert lines[0].startswith(f"cifar-cnn: {what}")
    assert lines[0].endswith("resume with  cifar-cnn fit --ckpt_path lightning_logs/version_0/checkpoints/last.ckpt")
    assert "Traceback" not in fit["output"]
    assert fit["again"] == 0, fit["output again"]
    assert fit["different"] == []


def test_an_error_in_one_process_ends_both_with_one_line(ranks: dict[str, Any]) -> None:
    wrong_classes = "cifar-cnn: error: the backbone must return logits of shape (N, num_classes)"
    for name, status, both, line in (
        ("NaN in one", 1, True, "cifar-cnn: the loss became NaN or infinite on another rank at step 5"),
        ("classes", 2, False, wrong_classes),  # found before the second process starts
        ("classes in training", 2, True, wrong_classes),
    ):
        result = ranks["refusals"][name]
        assert (result["status"], result["both"]) == (status, both), result["output"]
        assert both or result["files"] == []
        assert [line in said for said in result["output"].splitlines() if said.startswith("cifar-cnn: ")] == [True]
        assert "Traceback" not in result["output"]
    one = ranks["refusals"]["one only"]
    assert one["status"] == 1, one["output"]
    lines = [line for line in one["output"].splitlines() if line.startswith("cifar-cnn: ")]
    assert lines[0] == "cifar-cnn: error: only process 1 knows"
    assert [line.startswith("cifar-cnn: process 1 ended with status 2: stopping the others") for line in lines[1:]] == [
        True
    ]
    assert "Traceback" not in one["output"]


def test_fits_that_need_the_same_data_prepare_it_once(ranks: dict[str, Any]) -> None:
    result = ranks["side_by_side"]
    assert result["requests"] == ["/archive"]
    for name, bar in (("archive", "Downloading"), ("images", "Decoding train images")):
        assert result[name]["status"] == [0, 0], result[name]["output"]
        assert sorted(bar in output for output in result[name]["output"]) == [False, True]
        waited = [
            "Waiting for another process that is preparing the same data" in each for each in result[name]["output"]
        ]
        assert sorted(waited) == [False, True]


@contextmanager
def two_machines() -> Iterator[tuple[list[list[str]], str]]:
    """Yield a command prefix for each of two machines, and the address of the first machine.

    The machines are network namespaces with a cable between them. If these cannot be created, both are this machine.
    """
    names = [f"fit{os.getpid()}{end}" for end in "ab"]  # of the namespaces and of the ends of the cable

    def ip(*args: str) -> None:
        subprocess.run(["ip", *args], check=True, capture_output=True)

    try:
        for name in names:
            ip("netns", "add", name)
        ip(*("link", "add", names[0], "netns", names[0], "type", "veth", "peer", names[1], "netns", names[1]))
        for number, name in enumerate(names, 1):
            ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", name)
            for interface in (name, "lo"):
                ip("-n", name, "link", "set", interface, "up")
        places = [["ip", "netns", "exec", name, "env", f"GLOO_SOCKET_IFNAME={name}"] for name in names]
        address = "10.77.0.1"
    except (OSError, subprocess.CalledProcessError):
        places, address = [[], []], "127.0.0.1"
    try:
        yield places, address
    finally:
        if shutil.which("ip"):
            for name in names:
                subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def test_two_machines_under_torchrun_give_the_same_result_as_one_process(ranks: dict[str, Any]) -> None:
    run = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    fit = [*several.FIT, *several.DDP, "1", "--trainer.num_nodes", "2", "--data.batch_size", "16"]
    with two_machines() as (places, address):
        run += ["--master-addr", address, "--master-port", str(find_free_network_port())]
        started = [
            subprocess.Popen(
                [*place, *run, "--node-rank", str(rank), "-m", "cifar_cnn", *fit, "--report", "false"],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(CONFIGS.parent)},
            )
            for rank, place in enumerate(places)
        ]
        try:
            outputs = [process.communicate(timeout=120)[0] for process in started]
        finally:
            for process in started:
                process.kill()
    assert [process.returncode for process in started] == [0, 0], outputs
    assert [output.count("Trained     Plain") for output in outputs] == [1, 0]
    assert [path.name for path in RUN.parent.iterdir()] == [RUN.name]
    alone = ranks["shares"]["fit by 1"]
    assert several.files(Path()) == [name for name in alone["files"] if not name.endswith("report.html")]
    result = several.tested(Path())
    for metric in ("accuracy", "loss", "accuracy_top5"):
        assert result[metric] == pytest.approx(alone["test"][metric], abs=1e-5)
    assert result["confusion_matrix"] == alone["test"]["confusion_matrix"]


def test_disconnecting_leaves_no_thread_behind() -> None:
    def threads() -> set[str]:
        return {path.name for path in Path("/proc/self/task").iterdir()}

    before = threads()
    address = f"tcp://127.0.0.1:{find_free_network_port()}"
    distributed.init_process_group("gloo", init_method=address, rank=0, world_size=1)
    assert threads() - before
    for _ in range(2):
        processes.disconnect()
        assert not distributed.is_initialized()
        end = time.monotonic() + 10
        while threads() - before and time.monotonic() < end:
            time.sleep(0.01)  # a thread that has been joined takes a moment to disappear
        assert threads() <= before


def test_a_different_number_of_torchrun_processes_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started = {"TORCHELASTIC_RUN_ID": "any", "WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0"}
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    assert cifar_cnn.cli.run(several.FIT) == 2
    assert (
        "torchrun has started 2 processes, but the options are for 1: set --trainer.devices" in capsys.readouterr().err
    )
    assert list(Path().iterdir()) == []

import re
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

import cifar_cnn.cli
from cifar_cnn.callbacks import progress
from cifar_cnn.callbacks.progress import TimedProgressBar
from tests.conftest import CONFIGS, SMALL

Capture = pytest.CaptureFixture[str]
Lines = Callable[..., list[str]]
TINY = [
    *("fit", "--config", str(CONFIGS / "quickstart.yaml"), *SMALL),
    *("--data.source.train_size", "120", "--data.source.test_size", "10", "--data.source.image_size", "16"),
    *(
        "--model.backbone",
        "tests.harness.killed.TinyNet",
        "--filters.enabled",
        "false",
        "--trainer.max_epochs",
        "2",
    ),
    *("--trainer.accelerator", "cpu", "--trainer.precision", "32", "--trainer.enable_progress_bar", "true"),
    *("--data.val_size", "20", "--model.schedule", "WarmupCosine"),
]


def test_the_bar_is_drawn_by_time_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    clock = iter([10.0, 10.05, 10.15, 10.21, 10.3, 10.31])
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    bar: Any = TimedProgressBar(interval=0.2)
    assert [bar._should_update(step, 6) for step in range(1, 7)] == [True, False, False, True, False, True]
    assert TimedProgressBar().interval == 0.2
    bar.disable()
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: 99.0))
    assert not bar._should_update(6, 6)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    assert TimedProgressBar().is_disabled


@pytest.fixture
def epoch_lines(capsys: Capture) -> Lines:
    """Run a fit with options; return the lines between the first one and the summary."""

    def lines(*options: str, command: list[str] = TINY) -> list[str]:
        capsys.readouterr()
        assert cifar_cnn.cli.run([*command, *options]) == 0
        output = capsys.readouterr().out
        assert "\r" not in output
        return output.partition("Training TinyNet")[2].partition("\n\nTrained")[0].splitlines()[1:]

    return lines


def test_each_epoch_is_a_line_in_a_log(epoch_lines: Lines, capsys: Capture) -> None:
    header, first, second = epoch_lines()
    assert header.split() == ["epoch", "train", "loss", "val", "loss", "val", "accuracy", "lr", "seconds", "left"]
    assert len(header) == 79
    assert [line.split()[0] for line in (first, second)] == ["1/2", "2/2"]
    assert first.split()[4] == "best"
    assert second.split()[-1] == "0:00"
    # Resume the finished run, then resume it with more epochs.
    assert epoch_lines(command=["fit", "--ckpt_path", "last"]) == []
    header, third = epoch_lines("--trainer.max_epochs", "3", command=["fit", "--ckpt_path", "last"])
    assert third.split()[0] == "3/3"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("options", "columns"),
    [
        (["--data.val_size", "0"], [5, 5]),
        (["--trainer.check_val_every_n_epoch", "2"], [5, 8]),
        (["--trainer.enable_progress_bar", "false"], []),
    ],
    ids=["no validation images", "validation every other epoch", "switched off"],
)
def test_an_epoch_without_validation_leaves_its_columns_empty(
    options: list[str], columns: list[int], epoch_lines: Lines
) -> None:
    assert [len(line.split()) for line in epoch_lines(*options)[1:]] == columns


def test_a_terminal_of_80_columns_shows_validation_accuracy_first(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(progress.TimedProgressBar.__init__, "__defaults__", (0.0,))
    assert cifar_cnn.cli.run(TINY) == 0
    drawn = capsys.readouterr().out.replace("\n", "\r").split("\r")
    bars = [line.rstrip() for line in drawn if line.startswith("Epoch ")]
    assert any("| 1/3 [" in line and "loss=2." in line for line in bars)
    assert any(line.startswith("Epoch 2/2:") and "val_acc=" in line and line.endswith("]") for line in bars)
    assert max(len(re.sub(r"\|.*\|", "||", line)) for line in bars) <= 75  # the bar takes the rest
    assert not any(line.startswith("Epoch 0") for line in bars)
    assert sum(line.split()[:1] in (["1/2"], ["2/2"]) for line in drawn) == 2


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (
            ["WarmupCosine"],
            "WarmupCosine now spans 9 steps: at step 6 the learning rate goes from 0 to 0.025; for a single ",
        ),
        (["torch.optim.lr_scheduler.CosineAnnealingLR"], "was created for 6 steps: after that the learning rate rises"),
    ],
)
def test_a_resumed_run_reports_its_position_and_schedule(schedule: list[str], message: str, capsys: Capture) -> None:
    quiet = ["--trainer.enable_progress_bar", "false", "--model.optimizer.lr", "0.1"]
    assert cifar_cnn.cli.run([*TINY, *quiet, "--model.schedule", *schedule]) == 0
    capsys.readouterr()
    assert cifar_cnn.cli.run(["fit", "--ckpt_path", "last"]) == 0
    done = "Nothing left to train: version_0 has trained 2 epochs, 6 steps. To train longer, add --trainer.max_epochs 4"
    assert done in capsys.readouterr().err
    assert cifar_cnn.cli.run(["fit", "--ckpt_path", "last", "--trainer.max_epochs", "3"]) == 0
    error = capsys.readouterr().err
    assert "Resuming version_0 at epoch 3/3, step 6 of 9\n" in error
    assert message in error
    assert "cifar-cnn fit --config lightning_logs/version_0/config.yaml --trainer.max_epochs 3" in error

"""Fits whose loss diverges, whose disk is full, or whose folder is removed."""

import errno
import logging
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.tensorboard import SummaryWriter

import cifar_cnn.cli
from cifar_cnn.base import files
from cifar_cnn.base.errors import Stopped
from cifar_cnn.base.files import replacing
from cifar_cnn.resume.signals import StopOnSignal
from cifar_cnn.runs.folders import new_run_folder
from cifar_cnn.runs.loggers import RunCSVLogger
from tests.conftest import CONFIGS, SMALL

Capture = pytest.CaptureFixture[str]
Fit = Callable[..., int]
RUN = Path("lightning_logs/version_0")
LAST = RUN / "checkpoints/last.ckpt"
QUICK = [
    *("--config", str(CONFIGS / "quickstart.yaml"), *SMALL, "--trainer.max_epochs", "2"),
    *("--filters.enabled", "false", "--last_checkpoint.every_n_steps", "1"),
]
NARROW = ["--model.backbone.channels", "[4,4,4]"]
DROPOUT = ["--model.backbone", "tests.harness.killed.TinyNet"]


@pytest.fixture
def fit(monkeypatch: pytest.MonkeyPatch) -> Fit:
    def run(*options: Any, network: list[str] = NARROW) -> int:
        args = ["fit", *QUICK, *network, *map(str, options)]
        monkeypatch.setattr(sys, "argv", ["cifar-cnn", *args])
        return cifar_cnn.cli.run(args)

    return run


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_a_closed_terminal_stops_a_fit_with_a_checkpoint(fit: Fit, capsys: Capture) -> None:
    assert fit(*at_step("SIGHUP twice")) == 128 + signal.SIGHUP
    assert "stopped by SIGHUP at step 5: everything is saved" in capsys.readouterr().err
    assert torch.load(LAST, weights_only=True)["global_step"] == 5


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_a_terminal_that_is_closed_for_one_rank_stops_the_others_too() -> None:
    several = SimpleNamespace(reduce=lambda own, reduce_op: torch.tensor(1), root_device=torch.device("cpu"))
    trainer: Any = SimpleNamespace(world_size=2, global_step=5, checkpoint_callbacks=[], strategy=several)
    with pytest.raises(Stopped, match="stopped by SIGHUP at step 5") as stopped:
        StopOnSignal().on_train_batch_start(trainer, LightningModule(), None, 0)
    assert stopped.value.status == 128 + signal.SIGHUP


class AtStep(Callback):
    """Sends a signal, removes files or fills the disk, once, after a step."""

    def __init__(self, what: str, step: int = 5) -> None:
        super().__init__()
        self.what = what
        self.step = step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step != self.step:
            return
        if self.what.startswith("SIG"):
            for _ in range(2 if self.what.endswith(" twice") else 1):
                signal.raise_signal(signal.Signals[self.what.split()[0]])
        elif self.what == "remove the run":
            shutil.rmtree(RUN)
        elif self.what.startswith("remove "):
            path = Path(self.what.removeprefix("remove "))
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        else:
            meet_a_full_disk(self.what)


def meet_a_full_disk(name: str) -> None:
    """Make the next write of a temporary file for ``name`` fail as on a full disk."""

    def opened(path: Path, mode: str, **options: Any) -> IO[Any]:
        if not path.name.startswith(f"{name}."):
            return open(path, mode, **options)
        del files.open  # type: ignore[attr-defined]
        return open("/dev/full", mode.replace("x", "w"), **options)

    files.open = opened  # type: ignore[attr-defined]


def at_step(what: str, step: int = 5) -> list[str]:
    callback = ["--trainer.callbacks", "tests.resume.test_trouble.AtStep", "--trainer.callbacks.what", what]
    return [*callback, "--trainer.callbacks.step", str(step)]


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def test_a_diverging_loss_ends_the_fit_and_names_step_learning_rate_and_last_good_checkpoint(
    fit: Fit, capsys: Capture
) -> None:
    assert fit("--model.optimizer.lr", "1e30", "--model.schedule", "null") == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("cifar-cnn: ")]
    step = torch.load(LAST, weights_only=True)["global_step"]
    assert "became" in line
    assert "epoch 0, learning rate 1e+30: stopped" in line
    assert f"the last good checkpoint is {LAST} (step {step})" in line
    assert all(value.isfinite().all() for value in weights(LAST).values())


def test_a_fit_may_continue_with_a_loss_that_diverged(fit: Fit, capsys: Capture) -> None:
    assert fit("--model.optimizer.lr", "1e30", "--model.schedule", "null", "--not_finite.action", "warn") == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "training continues" in line]
    assert len(warnings) == 1


def test_an_ignored_signal_stops_nothing(fit: Fit) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert fit(*at_step("SIGINT")) == 128 + signal.SIGINT
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        assert fit(*at_step("SIGINT")) == 0
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_best_checkpoint_from_before_the_interruption_is_kept(fit: Fit) -> None:
    in_mid_epoch = ["--trainer.val_check_interval", 5, "--trainer.max_epochs", 1]
    assert fit(*in_mid_epoch) == 0
    assert fit(*in_mid_epoch, *at_step("SIGTERM", 6)) == 128 + signal.SIGTERM
    assert not Path("lightning_logs/version_1/checkpoints/best.ckpt").exists()
    assert fit("--ckpt_path", "last", *in_mid_epoch) == 0
    whole, interrupted = (
        torch.load(f"lightning_logs/version_{i}/checkpoints/best.ckpt", weights_only=True) for i in range(2)
    )
    assert whole["global_step"] == interrupted["global_step"] == 8
    assert whole["callbacks"]["MidEpoch"]["values"].keys() == interrupted["callbacks"]["MidEpoch"]["values"].keys()


needs_dev_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full stands for a full disk")


@needs_dev_full
def test_a_checkpoint_that_cannot_be_written_is_reported_and_the_previous_one_kept(fit: Fit, capsys: Capture) -> None:
    assert fit(*at_step("last.pending")) == 0
    error = capsys.readouterr().err
    assert "CHECKPOINT NOT WRITTEN" in error
    assert "No space left on device" in error
    assert f"Training continues without the checkpoint of step 5; {LAST} still holds step 4." in error
    assert torch.load(LAST, weights_only=True)["global_step"] == 16


@needs_dev_full
def test_a_checkpoint_that_cannot_be_written_can_end_the_fit(fit: Fit, capsys: Capture) -> None:
    assert fit(*at_step("last.pending"), "--last_checkpoint.on_failure", "stop") == 1
    assert f"{LAST} still holds step 4" in capsys.readouterr().err
    assert torch.load(LAST, weights_only=True)["global_step"] == 4


@needs_dev_full
def test_a_best_checkpoint_that_cannot_be_written_is_not_recorded_as_best(fit: Fit, capsys: Capture) -> None:
    assert fit(*at_step("best.ckpt"), "--trainer.max_epochs", 1) == 0
    assert "CHECKPOINT NOT WRITTEN" in capsys.readouterr().err
    (state,) = (
        state
        for name, state in torch.load(LAST, weights_only=True)["callbacks"].items()
        if name.startswith("BestCheckpoint")
    )
    assert state["best_model_path"] == ""
    assert state["best_model_score"] is None


def test_a_run_folder_that_is_removed_does_not_end_the_fit(fit: Fit, capsys: Capture) -> None:
    assert fit(*at_step("remove the run")) == 0
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert torch.load(LAST, weights_only=True)["global_step"] == 16


def test_removed_test_images_fail_only_the_test(fit: Fit, image_folder: Path, capsys: Capture) -> None:
    data = ["--data.source", "ImageFolder", "--data.source.root", image_folder, "--data.val_size", 8]
    options = ["--data.batch_size", 8, "--model.backbone.num_classes", 2, "--test_after_fit", "true"]
    assert fit(*data, *options, *at_step(f"remove {image_folder}", 2)) == 2
    output = capsys.readouterr()
    assert "Trained     SimpleCNN, 858 parameters, 2 epochs" in output.out
    (line,) = [line for line in output.err.splitlines() if line.startswith("cifar-cnn: error: ")]
    assert "the training is complete and saved, but the test failed: " in line
    assert "test: No such file or directory" in line
    assert torch.load(LAST, weights_only=True)["global_step"] == 8


def test_a_removed_best_checkpoint_is_not_tested(fit: Fit, capsys: Capture) -> None:
    frozen = ["--model.optimizer.lr", 0, "--model.schedule", "null", "--test_after_fit", "true"]
    assert fit(*frozen, *at_step(f"remove {RUN / 'checkpoints/best.ckpt'}", 12)) == 0
    output = capsys.readouterr()
    assert f"{RUN}/checkpoints/best.ckpt no longer exists: skipping its test and report." in output.err
    assert "Validation" in output.out
    assert "Checkpoint" not in output.out


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Limit files to ``size`` bytes."""
    resource = pytest.importorskip("resource", reason="the limits are those of Unix")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging, "raiseExceptions", False)  # pytest's capture file is full too
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def only_line(error: str) -> str:
    assert "Traceback" not in error
    (line,) = [line for line in error.splitlines() if line.startswith("cifar-cnn: ")]
    return line


def test_a_fit_that_cannot_write_does_not_start(fit: Fit, capsys: Capture) -> None:
    with largest_file(0):
        assert fit() == 2
    assert f"cifar-cnn: error: fit failed: {RUN}: File too large" in only_line(capsys.readouterr().err)
    assert list(Path().iterdir()) == []
    Path("lightning_logs").touch()
    assert fit() == 2
    assert "choose a writable folder with --trainer.default_root_dir" in only_line(capsys.readouterr().err)
    assert Path("lightning_logs").read_bytes() == b""


def test_a_fit_that_cannot_write_leaves_the_resumed_run_intact(fit: Fit, capsys: Capture) -> None:
    assert fit("--trainer.max_epochs", 1) == 0
    before = {path: path.read_bytes() for path in RUN.rglob("*") if path.is_file()}
    with largest_file(0):
        assert fit("--ckpt_path", "last") == 2
    assert "fit failed: " in only_line(capsys.readouterr().err)
    assert {path: path.read_bytes() for path in before} == before
    assert fit("--ckpt_path", "last") == 0
    assert torch.load(LAST, weights_only=True)["global_step"] == 16


def test_a_disk_that_fills_up_does_not_end_the_fit(fit: Fit, capsys: Capture) -> None:
    with largest_file(6_000):  # enough for the config, not for a checkpoint or the pictures of the filters
        assert fit("--filters.enabled", "true", "--trainer.log_every_n_steps", 1) == 0
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert "CHECKPOINT NOT WRITTEN" in error
    assert error.count("TensorBoard's events could not be written") == 1
    assert not list(RUN.rglob("*.part"))
    assert len((RUN / "metrics.csv").read_text().splitlines()) == 1 + 16 + 2 + 2


def test_a_file_named_like_a_run_is_not_changed() -> None:
    Path("lightning_logs").mkdir()
    Path("lightning_logs", "version_0").touch()
    assert new_run_folder() == Path("lightning_logs", "version_1")


@needs_dev_full
def test_rows_that_cannot_be_written_are_written_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logger = RunCSVLogger(tmp_path / "version_0")
    logger.experiment.log_metrics({"loss": 1.0}, 0)
    for step in (1, 2):
        meet_a_full_disk("metrics.csv")
        with caplog.at_level(logging.WARNING, "cifar_cnn"):
            logger.save()
        logger.experiment.log_metrics({"loss": 1.0 + step}, step)
    logger.save()
    assert (tmp_path / "version_0" / "metrics.csv").read_text().split() == ["loss,step", "1.0,0", "2.0,1", "3.0,2"]
    assert len([record for record in caplog.records if "metrics.csv could not be written" in record.message]) == 1


def test_events_that_cannot_be_written_are_one_warning(
    fit: Fit, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SummaryWriter, "add_scalar", full)
    assert fit("--trainer.max_epochs", 1, "--trainer.log_every_n_steps", 1) == 0
    assert capsys.readouterr().err.count("TensorBoard's events could not be written") == 1


def test_a_resumed_run_keeps_only_complete_rows_before_its_step(tmp_path: Path) -> None:
    folder = tmp_path / "version_0"
    folder.mkdir()
    (folder / "metrics.csv").write_text("loss,step\n0.5,0\n0.25,1\n0.125,2\n0.1,1")  # killed while it wrote step 10
    logger = RunCSVLogger(folder, first_step=2)
    logger.experiment.log_metrics({"loss": 4.0, "accuracy": 1.0}, 2)
    logger.save()
    assert (folder / "metrics.csv").read_text().split() == ["accuracy,loss,step", ",0.5,0", ",0.25,1", "1.0,4.0,2"]


def test_a_file_is_replaced_completely_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    path.parent.mkdir()
    path.write_bytes(b"old")
    with pytest.raises(TypeError, match="bytes-like"), replacing(path) as file:
        file.writelines([b"new", "no bytes"])
    assert path.read_bytes() == b"old"
    with replacing(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_the_same_seed_gives_the_same_weights_whatever_is_logged(fit: Fit) -> None:
    crop = ["--data.augment.crop", "2"]
    shown = ["--trainer.log_every_n_steps", 1, "--trainer.enable_progress_bar", "true"]
    assert fit(*crop, *shown, network=DROPOUT) == 0
    assert fit(*crop, "--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", "other", network=DROPOUT) == 0
    (other,) = Path("other").rglob("last.ckpt")
    first, second = weights(LAST), weights(other)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_writing_to_a_device_or_through_a_link_works(tmp_path: Path) -> None:
    pipe, link, target = tmp_path / "pipe", tmp_path / "link", tmp_path / "folder" / "target"
    os.mkfifo(pipe)
    target.parent.mkdir()
    target.write_bytes(b"old")
    link.symlink_to(target)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    for path in (pipe, link):
        with replacing(path) as file:
            file.write(b"new")
    assert os.read(reader, 10) == b"new"
    os.close(reader)
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert list(target.parent.iterdir()) == [target]

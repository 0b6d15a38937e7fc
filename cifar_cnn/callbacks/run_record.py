"""How, on what and with what a run was trained, for its report."""

import importlib.metadata
import json
import logging
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from cifar_cnn.data.batches import TrainBatches
from cifar_cnn.files import replacing

log = logging.getLogger("cifar_cnn")


class RunRecord(Callback):
    """Writes ``fit.json`` into the run's folder at the end of a fit.

    It holds the command, the seed, the epochs, the time, the training images a second (median over the epochs,
    validation left out), the hardware, the precision, the versions and the git commit. A run that goes on writes it
    anew.
    """

    def __init__(self) -> None:
        super().__init__()
        self._start = 0.0
        self._epoch_start = 0.0
        self._validation_start = 0.0
        self._validation_seconds = 0.0
        self._paces: list[float] = []  # training images a second, of each epoch

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._start = time.perf_counter()
        self._paces = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the epoch's clock."""
        self._epoch_start = time.perf_counter()
        self._validation_seconds = 0.0

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the validation's clock."""
        self._validation_start = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the validation's clock."""
        self._validation_seconds += time.perf_counter() - self._validation_start

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the epoch's pace."""
        seconds = time.perf_counter() - self._epoch_start - self._validation_seconds
        batches = trainer.train_dataloader
        # The epoch that a resumed run begins with may lack its first steps: it is timed only if it was a whole one.
        if self._epoch_start and isinstance(batches, TrainBatches):
            images = min(int(trainer.num_training_batches) * batches.step_size, batches.size)
            self._paces.append(images / seconds)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write ``fit.json``, if the run has a folder."""
        folder = trainer.log_dir if trainer.loggers else None  # a broadcast: every process must ask
        if not trainer.is_global_zero or not folder or not Path(folder).is_dir():
            return
        seed = os.environ.get("PL_GLOBAL_SEED")
        record = {
            "command": command(),
            "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "seed": int(seed) if seed is not None else None,
            "epochs": trainer.current_epoch,
            "steps": trainer.global_step,
            "seconds": round(time.perf_counter() - self._start, 2),
            "images_per_second": round(statistics.median(self._paces), 1) if self._paces else None,
            "hardware": hardware(trainer),
            "precision": trainer.precision,
            "versions": versions(),
            "git_commit": git_commit(Path(__file__).parent),
        }
        path = Path(folder, "fit.json")
        try:
            with replacing(path, "w", encoding="utf-8") as file:
                file.write(json.dumps(record, indent=1) + "\n")
        except OSError as error:
            log.warning("%s could not be written: %s", path, error.strerror)


def command() -> str:
    """The command line of this process, as it can be typed again."""
    path = Path(sys.argv[0])
    program = ["python", "-m", path.parent.name] if path.name == "__main__.py" else [path.name]
    return shlex.join([*program, *sys.argv[1:]])


def hardware(trainer: Trainer) -> str:
    """The devices that a trainer uses, such as ``AMD EPYC 7B13, 2 threads`` or ``2 x NVIDIA A100-SXM4-40GB``."""
    device = trainer.strategy.root_device
    if device.type == "cuda":
        return f"{trainer.world_size} x {torch.cuda.get_device_name(device)}"
    threads = torch.get_num_threads()
    name = f"{cpu_name()}, {threads} thread{'s' * (threads > 1)}"
    if device.type != "cpu":
        return f"{device.type} of {name}"
    return name if trainer.world_size == 1 else f"{trainer.world_size} processes on {name}"


def cpu_name() -> str:
    """The processor's name, as well as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def git_commit(folder: Path) -> str | None:
    """The commit of the code in ``folder``, with ``-dirty`` where a tracked file differs; None outside of git."""
    git = ["git", "-C", os.fspath(folder)]
    try:
        # Installed, the code may lie in an ignored folder of somebody else's repository.
        subprocess.run([*git, "ls-files", "--error-unmatch", "."], capture_output=True, check=True, timeout=10)
        describe = [*git, "describe", "--always", "--abbrev=40", "--dirty", "--exclude", "*"]
        return subprocess.run(describe, capture_output=True, check=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):  # git is not installed, or the disk is slow
        return None


def versions() -> dict[str, str]:
    """Of Python, this project and the libraries that do the computing."""
    names = ("cifar-cnn", "torch", "torchvision", "lightning", "torchmetrics")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # run from its folder, without having been installed
            continue
    return found

"""Record how a run was trained: command, data, hardware and versions."""

import importlib.metadata
import logging
import os
import platform
import shlex
import statistics
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from cifar_cnn.base.errors import is_interruption
from cifar_cnn.base.files import write_json
from cifar_cnn.base.git import compares_files_safely, git
from cifar_cnn.callbacks.stopwatch import EpochStopwatch
from cifar_cnn.callbacks.surroundings import keep_packages, keep_working_folder
from cifar_cnn.data.batches import TrainBatches
from cifar_cnn.data.module import CIFAR10DataModule
from cifar_cnn.optim import learning_rate
from cifar_cnn.resume.loops import images_evaluated, overfits, run_folder
from cifar_cnn.runs.schemas import read_record
from cifar_cnn.runs.tracking import recorded_as

log = logging.getLogger("cifar_cnn")


class RunRecord(Callback):
    """Writes ``fit.json`` into the run folder at the start of a fit and updates it at the end.

    At the start it records the command, the run's name, the seed (null: not seeded), the seed of the image order, the
    images, the hardware, the threads, the precision, the versions, the git commit of this package and the learning rate
    of the first step, so that a killed run can still be identified and reproduced. ``packages.txt`` receives the
    versions of all installed packages, ``git.diff`` the changes to tracked files in the working folder, whose commit is
    in ``working_folder``; if they have changed, a resumed run writes ``packages_1.txt`` or ``git_1.diff``, and so on.

    At the end it adds ``finished`` (null until then), epochs, steps, seconds and training images per second (median
    over the epochs, without validation). ``status`` is ``running``, then ``finished``, ``interrupted`` (by a signal) or
    ``failed``; the last two have a ``reason``. A run killed by SIGKILL stays ``running``: see
    :attr:`cifar_cnn.runs.run.RunFolder.status`. A resumed run keeps the earlier records under ``earlier``, oldest
    first.

    Args:
        command: the command line; by default that of the Python process.
    """

    def __init__(self, command: list[str] | None = None) -> None:
        super().__init__()
        self._command = command
        self._path: Path | None = None  # None without a run folder, and on all ranks except 0
        self._record: dict[str, Any] = {}
        self._former: dict[str, Any] = {}  # the record before this run was resumed
        self._first_step: int | None = None  # first step of this fit; None before training starts
        self._start = 0.0
        self._watch = EpochStopwatch()
        self._paces: list[float] = []  # training images per second in each epoch

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the facts known before the first step, if the run has a folder."""
        if stage != "fit":
            return
        folder = run_folder(trainer)
        self._path = folder / "fit.json" if folder is not None and trainer.is_global_zero else None
        if self._path is None:
            return
        seed = os.environ.get("PL_GLOBAL_SEED")
        self._record = {
            "command": shlex.join(self._command) if self._command else python_command(),
            "name": getattr(trainer, "name", None),
            "started": _now(),
            "finished": None,
            "status": "running",
            "seed": int(seed) if seed is not None else None,
            "images": images(trainer),
            "hardware": hardware(trainer),
            "precision": trainer.precision,
            "versions": versions(),
            "git_commit": git_commit(Path(__file__).parent),
            "threads": torch.get_num_threads(),
            "loggers": {type(each).__name__: found[1] for each in trainer.loggers if (found := recorded_as(each))},
            **surroundings(self._path.parent),
        }
        self._former, self._first_step = dict(read_record(self._path.parent)), None
        if self._former:
            former = {name: value for name, value in self._former.items() if name != "earlier"}
            self._record["earlier"] = [*self._former.get("earlier", []), former]
        self._write()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start = time.perf_counter()
        self._watch, self._paces = EpochStopwatch(), []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the seed of the image order and the learning rate of the first step, which no logger records."""
        datamodule = getattr(trainer, "datamodule", None)
        if isinstance(datamodule, CIFAR10DataModule):
            self._record["order_seed"] = datamodule.order_seed
        self._first_step = trainer.global_step
        if trainer.global_step == 0 and trainer.optimizers:
            self._record["learning_rate"] = float(learning_rate(trainer.optimizers[0]))
        self._write()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._watch.start()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._watch.start_validation()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._watch.stop_validation()
        if self._record.get("images"):
            self._record["images"]["validated"] = images_evaluated(trainer, "val")[0]
            self._record["images"]["validated_on_training"] = overfits(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        seconds = self._watch.training_seconds
        batches = trainer.train_dataloader
        # Only complete epochs are timed; the first epoch of a resumed run may be incomplete.
        if self._watch.is_running and isinstance(batches, TrainBatches):
            images = min(int(trainer.num_training_batches) * batches.step_size, batches.size)
            self._paces.append(images / seconds)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._record |= {
            "finished": _now(),
            "status": "finished",
            "epochs": trainer.current_epoch,
            "steps": trainer.global_step,
            "seconds": round(time.perf_counter() - self._start, 2),
            "images_per_second": round(statistics.median(self._paces), 1) if self._paces else None,
        }
        self._write()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self._record.get("status") != "running":
            return
        if self._former and self._first_step in (None, trainer.global_step):
            self._record = self._former  # a rejected resume changes nothing
        else:
            status = "interrupted" if is_interruption(exception) else "failed"
            reason = " ".join(str(exception).split())[:300] or type(exception).__name__
            self._record |= {"status": status, "reason": reason}
        self._write()

    def _write(self) -> None:
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)  # a logger may not have created it yet
            write_json(self._path, self._record)
        except OSError as error:
            log.warning("%s could not be written: %s", self._path, error.strerror)


def surroundings(run: Path) -> dict[str, Any]:
    """Keep the state of the working folder and the installed packages in a run's folder; the entries of fit.json."""
    try:
        run.mkdir(parents=True, exist_ok=True)
        return {"packages": keep_packages(run), "working_folder": keep_working_folder(run, Path.cwd())}
    except OSError as error:
        log.warning("%s could not be written: %s", error.filename, error.strerror)
        return {}


def python_command() -> str:
    """The command that started this process, such as ``python train.py``; ``a notebook`` in a notebook."""
    if "ipykernel" in sys.modules:
        return "a notebook"
    return shlex.join(["python", *sys.argv]) if sys.argv[0].endswith(".py") else shlex.join(sys.argv)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def images(trainer: Trainer) -> dict[str, Any] | None:
    """The images of a trainer's data module: class of the source, numbers of images and classes, choice, shape."""
    datamodule = getattr(trainer, "datamodule", None)
    if not isinstance(datamodule, CIFAR10DataModule):
        return None
    source = type(datamodule.source)
    return {
        "source": f"{source.__module__}.{source.__qualname__}",
        "train": len(datamodule.train_images),
        "validation": len(datamodule.image_set("val")),
        "classes": datamodule.num_classes,
        "size": datamodule.train_images.shape[-1],
        **datamodule.chosen.facts,
    }


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
    """The name of the processor as reported by the system."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def git_commit(folder: Path) -> str | None:
    """The commit of the code in ``folder``, with ``-dirty`` if a tracked file was changed; None outside of git."""
    # Fails for an installed package in an ignored folder of another repository, such as its .venv.
    if git(folder, "ls-files", "--error-unmatch", ".")[1] != 0:
        return None
    dirty = ("--dirty",) if compares_files_safely(folder) else ()
    commit, status = git(folder, "describe", "--always", "--abbrev=40", *dirty, "--exclude", "*")
    return commit.decode().strip() if status == 0 else None


def versions() -> dict[str, str]:
    """The versions of Python, this project and the main libraries."""
    names = ("cifar-cnn", "torch", "torchvision", "lightning", "torchmetrics")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # run from a source folder without being installed
            continue
    return found

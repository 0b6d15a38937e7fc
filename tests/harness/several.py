"""Fits of several processes, and fits side by side.

``python -m tests.harness.several FOLDER`` prints the results as JSON. As in killed.py, each process is a forked child.
Lightning's launcher is unchanged, except that its Popen is replaced: it forks a child that runs the same command in the
same environment.
"""

import json
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies.launchers import subprocess_script
from PIL import Image
from torch import Tensor, distributed, nn

import cifar_cnn.analysis.report  # noqa: F401  (so that no child has to import it)
from cifar_cnn.base.errors import InputError
from cifar_cnn.base.image_files import archives
from cifar_cnn.data.sources import image_folder
from tests.core.test_sources import Server, make_archive
from tests.harness import killed
from tests.harness.killed import RUN, outcome, start, wait, watch

DDP = ["--trainer.strategy", "ddp", "--trainer.devices"]
OF_TWO = "process_1.pid"  # the file with the ID of the process that the first process started

# Without BatchNorm and dropout, two processes with half the batch each give the same weights as one.
SHARED = [
    *("--data.source.train_size", "263", "--data.source.test_size", "103", "--data.source.image_size", "16"),
    *("--data.val_size", "103", "--data.eval_batch_size", "10", "--trainer.enable_progress_bar", "false"),
    *("--trainer.accelerator", "cpu", "--trainer.precision", "32"),
]
FIT = [
    *(
        "fit",
        "--config",
        str(killed.CONFIGS / "quickstart.yaml"),
        "--model.backbone",
        "tests.harness.several.Plain",
    ),
    *(*SHARED, "--trainer.max_epochs", "4", "--trainer.log_every_n_steps", "1"),
]
DROPOUT = [*killed.FIT, "--data.batch_size", "8", *DDP, "2"]


class Plain(nn.Sequential):
    """A convolution and a head."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(
            nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveMaxPool2d(4), nn.Flatten(), nn.Linear(256, num_classes)
        )


class NineOfProcesses(Plain):
    """A network that returns one logit too few when several processes train, but not in the check before a run."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images)[:, : 9 if distributed.is_initialized() else None]


class NaNInProcess1(nn.CrossEntropyLoss):
    """A loss that is NaN in process 1, at the fifth step."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        self.steps += self.training
        bad = self.training and self.steps == 5 and distributed.get_rank() == 1
        return super().forward(logits, target) * (float("nan") if bad else 1)


class RefusesInProcess1(nn.CrossEntropyLoss):
    """A loss that raises an error in process 1."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        if distributed.is_initialized() and distributed.get_rank() == 1:
            raise InputError("only process 1 knows")
        return super().forward(logits, target)


class SlowInProcess1(Callback):
    """Makes process 1 end a second after process 0."""

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        time.sleep(trainer.global_rank)


class Results(Callback):
    """Writes the validation metrics of each process, one process after the other."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        time.sleep(trainer.global_rank / 2)
        values = {name: value.item() for name, value in trainer.callback_metrics.items()}
        Path(f"validation_{trainer.global_rank}.json").write_text(json.dumps(values))


class CrashesInProcess1(Callback):
    """Ends process 1 with status 3 when process 0 has finished."""

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if trainer.global_rank == 1:
            time.sleep(1)
            os._exit(3)


class Forked:
    """The part of the Popen interface that Lightning's launcher uses."""

    def __init__(self, command: list[str], env: dict[str, str], cwd: str | None) -> None:
        self.returncode: int | None = None
        self.lock = threading.Lock()
        ours = logging.getLogger("cifar_cnn")
        with mock.patch.dict(os.environ, env, clear=True), mock.patch.object(ours, "handlers", []):
            self.pid = start(command[3:], Path.cwd())  # the arguments after python -m tests.harness.several
        Path(OF_TWO).write_text(str(self.pid))

    def poll(self) -> int | None:
        with self.lock:  # Lightning's watcher polls too
            if self.returncode is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                self.returncode = os.waitstatus_to_exitcode(status) if pid else None
            return self.returncode

    def send_signal(self, signum: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, signum)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def output(where: Path) -> str:
    return (where / "output.txt").read_text()


def files(where: Path) -> list[str]:
    """The names of the files in a folder. TensorBoard's names are cut off before their time and process ID."""
    names = [path.relative_to(where).as_posix() for path in where.rglob("*") if path.is_file()]
    return sorted(name.split(".tfevents.")[0] for name in names if name not in ("output.txt", OF_TWO))


def tested(where: Path) -> dict[str, Any]:
    """The results of a test."""
    with np.load(where / RUN / "test_predictions.npz") as stored:
        predictions = {name: stored[name].tolist() for name in stored}
    return {**json.loads((where / RUN / "test.json").read_text()), **predictions}


def shares(folder: Path) -> dict[str, Any]:
    """Train with one process and with two, then test and validate the same weights with one, two and four."""
    result: dict[str, Any] = {}
    for processes in (1, 2):
        where = folder / f"fit by {processes}"
        options = [*DDP, str(processes)] if processes > 1 else []
        status = wait(start([*FIT, *options, "--data.batch_size", str(32 // processes)], where))
        result[f"fit by {processes}"] = {
            "status": status,
            "output": output(where),
            "files": files(where),
            "metrics.csv": (where / RUN / "metrics.csv").read_text(),
            "test": tested(where),
        }
    weights = ["--ckpt_path", str(folder / "fit by 1" / RUN)]
    for processes, batch_size in ((1, 103), (2, 10), (4, 10), (2, 51)):  # in the last case, one process gets no images
        where = folder / f"test by {processes}, {batch_size}"
        options = [*weights, *SHARED, *DDP, str(processes), "--data.eval_batch_size", str(batch_size)]
        (folder / "fit by 1" / RUN / "test.json").unlink()  # each test must write its own
        statuses = [wait(start(["test", *options, "--report", "false"], where))]
        test = tested(folder / "fit by 1")
        validate = ["validate", *options, "--trainer.callbacks"]
        statuses.append(wait(start([*validate, "tests.harness.several.Results"], where)))
        validations = [json.loads(path.read_text()) for path in sorted(where.glob("validation_*.json"))]
        result[where.name] = {"status": statuses, "test": test, "validations": validations, "output": output(where)}
    where = folder / "crash at the end"
    options = [*weights, *SHARED, *DDP, "2", "--trainer.callbacks", "tests.harness.several.CrashesInProcess1"]
    result[where.name] = {"status": wait(start(["validate", *options], where)), "output": output(where)}
    return result


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def end_of_two(where: Path) -> None:
    """Wait for the process that the first one started; it may outlive the first and print a message."""
    pid, deadline = int((where / OF_TWO).read_text()), time.monotonic() + 60
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)


def losses(folder: Path) -> list[dict[str, Any]]:
    """Stop one of two processes within an epoch, then resume."""
    whole = folder / "two processes"
    if status := wait(start(DROPOUT, whole)):
        sys.exit(f"status {status}\n{output(whole)}")
    expected = outcome(whole / RUN)
    results = []
    for signum, rank in ((signal.SIGKILL, 0), (signal.SIGKILL, 1), (signal.SIGTERM, 1), (signal.SIGTERM, 0)):
        where = folder / f"{signum.name} to {rank}"
        pids = [start(DROPOUT, where)]
        watch(pids[0], 8.0)
        pids.append(int((where / OF_TWO).read_text()))
        begin = time.monotonic()
        os.kill(pids[rank], signum)
        status = wait(pids[0])
        end_of_two(where)
        seconds = time.monotonic() - begin
        said = output(where)
        again = wait(start(["fit", "--ckpt_path", "last"], where))
        result = outcome(where / RUN) if again == 0 else {}
        results.append(
            {
                "signal": signum.name,
                "rank": rank,
                "status": status,
                "seconds": seconds,
                "output": said,
                "again": again,
                "output again": output(where),
                "different": [part for part in expected if result.get(part) != expected[part]],
            }
        )
    return results


def refusals(folder: Path) -> dict[str, dict[str, Any]]:
    """Run fits whose errors must stop both processes in an orderly way."""
    nan = ["--model.loss", "tests.harness.several.NaNInProcess1", "--data.batch_size", "16"]
    cases = {
        "NaN in one": [*nan, "--trainer.callbacks", "tests.harness.several.SlowInProcess1"],
        "classes": ["--model.backbone.num_classes", "9"],
        "classes in training": ["--model.backbone", "tests.harness.several.NineOfProcesses"],
        "one only": ["--model.loss", "tests.harness.several.RefusesInProcess1", "--data.batch_size", "16"],
    }
    result = {}
    for name, options in cases.items():
        status = wait(start([*FIT, *DDP, "2", *options], folder / name))
        both = (folder / name / OF_TWO).exists()
        if both:
            end_of_two(folder / name)
        result[name] = {"status": status, "both": both, "output": output(folder / name), "files": files(folder / name)}
    return result


def side_by_side(folder: Path) -> dict[str, Any]:
    """Start two fits at once that extract the same archive, and two that decode the same image folder."""

    def once_another_waits(function: Any) -> Any:
        def later(*args: Any) -> Any:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and not any(
                "Waiting for another process" in path.read_text() for path in Path.cwd().parent.glob("*/output.txt")
            ):
                time.sleep(0.05)
            return function(*args)

        return later

    for name in ("one", "two"):
        (folder / "images" / "train" / name).mkdir(parents=True)
        for index in range(20):
            pixels = np.random.default_rng(index).integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "images" / "train" / name / f"{index}.png")
    server = Server()
    options = {
        "archive": ["CIFAR10", "--data.source.url", server.url("/archive"), "--data.source.root", str(folder / "data")],
        "images": ["ImageFolder", "--data.source.root", str(folder / "images"), "--model.backbone.num_classes", "2"],
    }
    few = ["--trainer.max_epochs", "1", "--test_after_fit", "false", "--report", "false", "--data.val_size", "10"]
    few += ["--trainer.accelerator", "cpu", "--trainer.precision", "32", "--trainer.enable_progress_bar", "false"]
    with pytest.MonkeyPatch.context() as patch:
        server.content["/archive"] = make_archive(patch)
        for module, name in ((archives, "download"), (image_folder, "decode_all")):
            patch.setattr(module, name, once_another_waits(getattr(module, name)))
        begun = {}
        for name, source in options.items():
            where = folder / f"same {name}"
            where.mkdir()
            fit = [
                *killed.FIT[:3],
                "--model.backbone",
                "tests.harness.several.Plain",
                "--data.source",
                *source,
            ]
            fits = [[*fit, *few, "--trainer.default_root_dir", f"{where}/{each}"] for each in range(2)]
            begun[name] = [start(args, where / str(each)) for each, args in enumerate(fits)]
        result: dict[str, Any] = {}
        for name, pids in begun.items():
            status = [wait(pid) for pid in pids]
            result[name] = {"status": status, "output": [output(folder / f"same {name}" / each) for each in "01"]}
    result["requests"] = server.requests
    return result


def main(folder: Path) -> None:
    """Run all scenarios and print the results."""
    killed.fill_caches()
    results = {"shares": shares(folder), "losses": losses(folder), "refusals": refusals(folder)}
    print(json.dumps({**results, "side_by_side": side_by_side(folder)}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    subprocess_script.subprocess = SimpleNamespace(Popen=Forked)  # type: ignore[assignment]
    main(Path(sys.argv[1]))

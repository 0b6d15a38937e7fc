"""Fits that are interrupted and resumed: ``python -m tests.harness.killed FOLDER`` prints the results as JSON.

Importing torch and Lightning takes longer than these fits. So this process imports them once and forks a child for
each fit; it runs no network itself, which keeps forking safe.
"""

import gc
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
import torch.utils.tensorboard  # so that no child has to import it
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR

from cifar_cnn.base import files
from cifar_cnn.callbacks.surroundings import installed_packages
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.cli import main as cli  # imports the whole command line, so that no child has to
from cifar_cnn.data.batches import Batch
from cifar_cnn.optim import WarmupCosine
from cifar_cnn.resume import checkpoints as checkpoint
from tests.conftest import CONFIGS

SEED = 4
KILLS = 20
RUN = Path("lightning_logs", "version_0")
LAST = RUN / "checkpoints" / "last.ckpt"

FIT = [
    *("fit", "--config", str(CONFIGS / "quickstart.yaml"), "--test_after_fit", "false", "--filters.enabled", "false"),
    *("--data.source.train_size", "120", "--data.source.test_size", "10", "--data.source.image_size", "16"),
    *("--data.val_size", "24", "--data.batch_size", "16", "--data.augment.cutout", "4"),
    *(
        "--model.backbone",
        "tests.harness.killed.TinyNet",
        "--trainer.max_epochs",
        "3",
        "--trainer.log_every_n_steps",
        "1",
    ),
    *("--trainer.accelerator", "cpu", "--trainer.precision", "32", "--trainer.deterministic", "true"),
    *("--trainer.enable_progress_bar", "false", "--last_checkpoint.every_n_steps", "1", "--report", "false"),
]
ADAMW = ["--model.optimizer", "torch.optim.AdamW", "--model.optimizer.lr", "1e-2", "--model.schedule", "WarmupCosine"]
MUON = [
    *("--model.backbone", "SpeedrunNet", "--model.backbone.widths", "[24,24,24]"),
    *("--model.optimizer", "cifar_cnn.optim.Muon", "--model.optimizer.sgd_lr", "0.05"),
    *("--data.augment.flip", "alternating", "--trainer.callbacks", "cifar_cnn.callbacks.whitening.WhitenFirstConv"),
    *("--trainer.callbacks.bias_epochs", "1.5"),
]
PLATEAU = [
    *("--model.schedule", "torch.optim.lr_scheduler.ReduceLROnPlateau", "--model.schedule.factor", "0.7"),
    *("--model.schedule.patience", "0", "--model.schedule.threshold", "0.1"),  # lowers the rate again and again
]
SCHEDULED = [
    *("--trainer.callbacks", "lightning.pytorch.callbacks.GradientAccumulationScheduler"),
    *("--trainer.callbacks.scheduling", "{1: 2}"),
]
FINETUNED = [
    *("--trainer.callbacks", "lightning.pytorch.callbacks.BackboneFinetuning"),
    *("--trainer.callbacks.unfreeze_backbone_at_epoch", "1"),
]
VARIANTS = {
    "SGD and dropout": [],
    "two optimizers": [],
    "moving average of the weights": ["--trainer.callbacks", "lightning.pytorch.callbacks.EMAWeightAveraging"],
    "Muon and SGD, as in speedrun": MUON,
    "accumulated gradients": [*ADAMW, "--trainer.accumulate_grad_batches", "2", "--trainer.val_check_interval", "0.5"],
    "counted by steps": [*ADAMW, "--trainer.max_epochs", "-1", "--trainer.max_steps", "17"],
    "a rate that goes by the validation": [*PLATEAU, "--trainer.val_check_interval", "2"],
    "gradients accumulated by epoch": [*PLATEAU, *SCHEDULED],
    "layers that are unfrozen in the second epoch": [*ADAMW, *FINETUNED],
}


class TinyNet(nn.Sequential):
    """A minimal network with a convolution, a normalization, dropout and a head."""

    def __init__(self, filters: int = 4, num_classes: int = 10) -> None:
        super().__init__(
            nn.Conv2d(3, filters, 3),
            nn.BatchNorm2d(filters),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(4 * filters, num_classes),
        )


class TwoOptimizers(ImageClassifier):
    """SGD for the filters and AdamW for the other parameters, each with its own schedule."""

    automatic_optimization = False

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        optimizers, schedules = cast(list, self.optimizers()), cast(list, self.lr_schedulers())
        for optimizer in optimizers:
            optimizer.zero_grad()
        self.manual_backward(loss)
        for each in (*optimizers, *schedules):
            each.step()
        return loss

    def configure_optimizers(self) -> Any:
        filters = [p for p in self.backbone.parameters() if p.ndim == 4]
        others = [p for p in self.backbone.parameters() if p.ndim != 4]
        optimizers = [SGD(filters, lr=0.1, momentum=0.9), AdamW(others, lr=1e-2)]
        return optimizers, [CosineAnnealingLR(optimizers[0], 18), WarmupCosine(optimizers[1], 18)]


_written: dict[int, int] = {}  # for each child, the pipe to which it writes a byte for each last.ckpt


def start(args: list[str], folder: Path, model: type[ImageClassifier] = ImageClassifier) -> int:
    """Run a command line in a child process in ``folder``; return the process ID."""
    read, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write)
        _written[pid] = read
        return pid
    status = 70
    try:
        # The signal handlers of a program that is started from a terminal.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)

        def move(source: Path, target: Path) -> None:
            files.move(source, target)
            if target.name == LAST.name:
                os.write(write, b".")

        checkpoint.move = move
        folder.mkdir(exist_ok=True)
        os.chdir(folder)
        output = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.argv = ["cifar-cnn", *args]
        status = cli.run(args, model=model)
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def wait(pid: int) -> int:
    """Wait for a child to end; return its exit status, negative for a signal."""
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(_written.pop(pid))
    return status


def watch(pid: int, moment: float = float("inf"), seconds: float = 0.0, signum: int = 0) -> int:
    """Send ``signum`` at ``moment``, counted in checkpoints (``seconds`` apart); return the number of checkpoints."""
    seen = 0
    while seen <= moment and os.read(_written[pid], 1):  # empty once the child has ended
        seen += 1
    if seen > moment:
        time.sleep(moment % 1 * seconds)
        os.kill(pid, signum)
    return seen


def has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def plain(value: Any) -> Any:
    """Convert a checkpoint to a form that is equal only for bit-identical content; the folders in it are ignored."""
    if isinstance(value, torch.Tensor):
        data = value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return [str(value.dtype), list(value.shape), hashlib.sha256(data).hexdigest()]
    if isinstance(value, dict):
        return {str(key).rpartition("/")[2]: plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return value.rpartition("/")[2] if isinstance(value, str) else value


def outcome(run: Path) -> dict[str, Any]:
    """All results of a run that must not depend on an interruption."""
    result: dict[str, Any] = {}
    for name in ("best.ckpt", "last.ckpt"):
        content = torch.load(run / "checkpoints" / name, weights_only=True)
        result |= {f"{name} {part}": plain(value) for part, value in content.items()}
    lines = (run / "metrics.csv").read_text().splitlines()
    timed = lines[0].split(",").index("epoch_seconds")
    result["metrics.csv"] = [[cell for i, cell in enumerate(line.split(",")) if i != timed] for line in lines]
    return result


def model_of(name: str) -> type[ImageClassifier]:
    """The LightningModule of a variant."""
    return TwoOptimizers if name == "two optimizers" else ImageClassifier


def whole_fits(folder: Path) -> dict[str, dict[str, Any]]:
    """Run each variant uninterrupted; return its results and the number and spacing of its checkpoints."""
    result = {}
    for name, options in VARIANTS.items():
        where = folder / name
        begin = time.monotonic()
        pid = start([*FIT, *options], where, model_of(name))
        checkpoints = watch(pid)
        if status := wait(pid):
            sys.exit(f"{name}: status {status}\n{(where / 'output.txt').read_text()}")
        seconds = (time.monotonic() - begin) / 2 / checkpoints  # the start takes half of the time
        result[name] = {"outcome": outcome(where / RUN), "checkpoints": checkpoints, "seconds": seconds}
    return result


def interrupt(whole: dict[str, Any], name: str, where: Path, moment: float, signum: int, resume: bool = False) -> int:
    """Start or resume a fit and send it a signal at ``moment``, a fraction of its checkpoints; return its status."""
    args = ["fit", "--ckpt_path", "last"] if resume else [*FIT, *VARIANTS[name]]
    pid = start(args, where, model_of(name))
    watch(pid, moment * (whole[name]["checkpoints"] - 1), whole[name]["seconds"], signum)
    return wait(pid)


def resume(whole: dict[str, Any], name: str, where: Path) -> dict[str, Any]:
    """Resume a fit to its end; return its differences from the uninterrupted fit."""
    status = wait(start(["fit", "--ckpt_path", "last"], where, model_of(name)))
    expected = whole[name]["outcome"]
    result = outcome(where / RUN) if status == 0 else {}
    different = [part for part in expected if result.get(part) != expected[part]]
    output = (where / "output.txt").read_text()
    return {"status": status, "different": different, "output": output, "record": record(where)}


def record(where: Path) -> dict[str, Any]:
    """The record of a fit."""
    return json.loads((where / RUN / "fit.json").read_text())


def kills(whole: dict[str, Any], folder: Path) -> Iterator[dict[str, Any]]:
    """Kill fits at random moments, some of them twice."""
    rng = random.Random(SEED)
    for index in range(KILLS):
        name = list(VARIANTS)[index % len(VARIANTS)]
        where = folder / f"kill {index}"
        killed = [interrupt(whole, name, where, rng.random(), signal.SIGKILL)]
        records = [record(where)]
        if rng.random() < 0.3:
            killed.append(interrupt(whole, name, where, rng.random() / 4, signal.SIGKILL, resume=True))
            records.append(record(where))
        yield {"variant": name, "killed": killed, "records": records, **resume(whole, name, where)}


def signals(whole: dict[str, Any], folder: Path) -> Iterator[dict[str, Any]]:
    """Stop fits with signals at random moments, and resume them."""
    rng = random.Random(SEED)
    for name, signum in zip(VARIANTS, (signal.SIGTERM, signal.SIGINT, signal.SIGTERM), strict=False):
        where = folder / f"signal {name}"
        status = interrupt(whole, name, where, rng.uniform(0.1, 0.8), signum)
        step = torch.load(where / LAST, weights_only=True)["global_step"]
        yield {"signal": signum, "ended": status, "step": step, **resume(whole, name, where)}


class Slow(Callback):
    """Waits long enough for two signals, before the first step or during a given step."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.step == 0:
            self.wait()

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        if trainer.global_step == self.step:
            self.wait()

    def wait(self) -> None:
        Path("slow").touch()
        time.sleep(2)


def signal_when_slow(step: int, signals: list[int], where: Path) -> int:
    """Signal a fit once it waits; return its status."""
    slow = ["--trainer.callbacks+", "tests.harness.killed.Slow", "--trainer.callbacks.step", str(step)]
    pid = start([*FIT, *slow], where)
    while not (where / "slow").exists() and not has_ended(pid):
        time.sleep(0.01)
    for signum in signals:
        os.kill(pid, signum)
        time.sleep(0.3)
    return wait(pid)


def signals_again(whole: dict[str, Any], folder: Path) -> Iterator[dict[str, Any]]:
    """Send a second signal to fits before they have stopped."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        where = folder / f"signal {signum} again"
        ended = signal_when_slow(7, [signum, signum], where)
        yield {"signal": signum, "ended": ended, **resume(whole, next(iter(VARIANTS)), where)}


def signals_before(whole: dict[str, Any], folder: Path) -> Iterator[dict[str, Any]]:
    """Send signals to fits before their first step."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        where = folder / f"signal {signum} before"
        ended = signal_when_slow(0, [signum], where)
        runs = [path.name for path in where.iterdir() if path.name not in ("output.txt", "slow")]
        yield {"signal": signum, "ended": ended, "runs": runs, "output": (where / "output.txt").read_text()}


def damages(whole: dict[str, Any], folder: Path) -> Iterator[dict[str, Any]]:
    """Damage the last checkpoint of a killed fit."""
    name = next(iter(VARIANTS))

    def flip(content: bytes) -> bytes:
        middle = len(content) // 2
        return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]

    killed = folder / "damaged"
    interrupt(whole, name, killed, 0.6, signal.SIGKILL)
    last = killed / LAST
    if not last.exists():  # killed after renaming the previous checkpoint and before renaming the new one
        last.with_name("last.pending").rename(last)
    for damage, change in (
        ("cut", lambda content: content[: len(content) // 2]),
        ("empty", lambda content: b""),
        ("one bit", flip),
        ("gone", None),
    ):
        where = folder / f"damage {damage}"
        last = shutil.copytree(killed, where) / LAST
        if change is None:
            last.unlink(missing_ok=True)
        else:
            last.write_bytes(change(last.read_bytes()))
        yield {"damage": damage, **resume(whole, name, where)}


def side_by_side(folder: Path) -> dict[str, Any]:
    """Start eight fits at once in one folder."""
    where = folder / "side by side"
    pids = [start([*FIT, "--trainer.max_epochs", "1", "--seed_everything", str(seed)], where) for seed in range(8)]
    status = [wait(pid) for pid in pids]
    runs = sorted((where / "lightning_logs").iterdir())
    seeds = [yaml.safe_load((run / "config.yaml").read_text())["seed_everything"] for run in runs]
    rows = [len(outcome(run)["metrics.csv"]) for run in runs]
    records = [json.loads((run / "fit.json").read_text())["seed"] for run in runs]
    return {"status": status, "runs": [run.name for run in runs], "seeds": seeds, "records": records, "rows": rows}


def fill_caches() -> None:
    """Do the work once that each child would otherwise have to do."""
    cli.check_options(FIT)
    installed_packages()
    gc.freeze()


def main(folder: Path) -> None:
    """Run all scenarios and print the results."""
    fill_caches()
    whole = whole_fits(folder)
    parts = (kills, signals, signals_again, signals_before, damages)
    results: dict[str, Any] = {part.__name__: list(part(whole, folder)) for part in parts}
    print(json.dumps({**results, "side_by_side": side_by_side(folder)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

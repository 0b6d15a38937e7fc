"""Fits that are killed and gone on with: ``python -m tests.kills FOLDER`` prints what became of them as JSON.

Importing torch and Lightning takes longer than these fits. So this process imports them once and forks a child for each
fit; it runs no network itself, which keeps forking safe.
"""

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import torch
import torch.utils.tensorboard  # noqa: F401  (so that the children have it)
from torch import nn

import cifar_cnn.cli
from tests.conftest import CONFIGS

SEED = 4
KILLS = 20
STEPS = 16  # that each of the fits has at least

FIT = [
    *("fit", "--config", str(CONFIGS / "quickstart.yaml"), "--test_after_fit", "false", "--filters.enabled", "false"),
    *("--data.source.train_size", "120", "--data.source.test_size", "10", "--data.source.image_size", "16"),
    *("--data.val_size", "24", "--data.batch_size", "16", "--data.augment.cutout", "4"),
    *("--model.backbone", "tests.kills.TinyNet", "--trainer.max_epochs", "3", "--trainer.log_every_n_steps", "1"),
    *("--trainer.accelerator", "cpu", "--trainer.precision", "32", "--trainer.deterministic", "true"),
    *("--trainer.enable_progress_bar", "false", "--last_checkpoint.every_n_steps", "1"),
]
ADAMW = ["--model.optimizer", "torch.optim.AdamW", "--model.optimizer.lr", "1e-2", "--model.schedule", "WarmupCosine"]
MUON = [
    *("--model.backbone", "SpeedrunNet", "--model.backbone.widths", "[24,24,24]"),
    *("--model.optimizer", "cifar_cnn.optim.Muon", "--model.optimizer.sgd_lr", "0.05"),
    *("--data.augment.flip", "alternating", "--trainer.callbacks", "cifar_cnn.callbacks.whitening.WhitenFirstConv"),
    *("--trainer.callbacks.bias_epochs", "2"),
]
VARIANTS = {
    "SGD and dropout": [],
    "moving average of the weights": ["--trainer.callbacks", "lightning.pytorch.callbacks.EMAWeightAveraging"],
    "Muon and SGD, as in speedrun": MUON,
    "accumulated gradients": [*ADAMW, "--trainer.accumulate_grad_batches", "2", "--trainer.val_check_interval", "0.5"],
    "counted by steps": [*ADAMW, "--trainer.max_epochs", "-1", "--trainer.max_steps", "17"],
}


class TinyNet(nn.Sequential):
    """The least that has a convolution, a normalisation, dropout and a head."""

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


def start(args: list[str], folder: Path) -> int:
    """Run a command line in a child, in ``folder``; returns its process id."""
    pid = os.fork()
    if pid:
        return pid
    status = 70
    try:
        folder.mkdir(exist_ok=True)
        os.chdir(folder)
        output = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.argv = ["cifar-cnn", *args]
        status = cifar_cnn.cli.run(args)
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def wait(pid: int) -> int:
    """The exit status of a child; negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill_at(pid: int, last: Path, moment: float, step_seconds: float) -> bool:
    """Kill a child at ``moment``, in steps since its first checkpoint; whether it was still running."""
    seen, inode = -1, 0
    while not has_ended(pid):
        try:
            new = last.stat().st_ino
        except FileNotFoundError:  # not yet, or just being renamed
            new = inode
        if new != inode:
            seen, inode = seen + 1, new
        if seen >= int(moment):
            time.sleep(moment % 1 * step_seconds)
            os.kill(pid, signal.SIGKILL)
            break
        time.sleep(0.0003)
    return wait(pid) < 0


def has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def plain(value: Any) -> Any:
    """What a checkpoint holds, in a form in which equal means bit-identical, wherever its folder is."""
    if isinstance(value, torch.Tensor):
        return [str(value.dtype), list(value.shape), value.contiguous().reshape(-1).view(torch.uint8).tolist()]
    if isinstance(value, dict):
        return {str(key).rpartition("/")[2]: plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return value.rpartition("/")[2] if isinstance(value, str) else value


def outcome(run: Path) -> dict[str, Any]:
    """All that a run leaves and that must not depend on an interruption."""
    result: dict[str, Any] = {}
    for name in ("best.ckpt", "last.ckpt"):
        content = torch.load(run / "checkpoints" / name, weights_only=True)
        result |= {f"{name} {part}": plain(value) for part, value in content.items()}
    lines = (run / "metrics.csv").read_text().splitlines()
    timed = lines[0].split(",").index("epoch_seconds")
    result["metrics.csv"] = [[cell for i, cell in enumerate(line.split(",")) if i != timed] for line in lines]
    return result


def main(folder: Path) -> None:
    """Kill and go on, and print what differs from the fit that was never interrupted."""
    rng = random.Random(SEED)
    whole, seconds = {}, 0.0
    for name, options in VARIANTS.items():
        where = folder / name
        pid = start([*FIT, *options], where)
        run = where / "lightning_logs" / "version_0"
        while not (run / "checkpoints" / "last.ckpt").exists() and not has_ended(pid):
            time.sleep(0.001)
        begin = time.monotonic()
        if status := wait(pid):
            sys.exit(f"{name}: status {status}\n{(where / 'output.txt').read_text()}")
        seconds = time.monotonic() - begin
        whole[name] = outcome(run)

    results = []
    for index in range(KILLS):
        name = list(VARIANTS)[index % len(VARIANTS)]
        where = folder / f"{index}"
        run = where / "lightning_logs" / "version_0"
        killed = []
        args = [*FIT, *VARIANTS[name]]
        for _ in range(rng.choice((1, 1, 2))):
            moment = rng.uniform(0, STEPS - len(killed) * STEPS / 2)
            killed.append(kill_at(start(args, where), run / "checkpoints" / "last.ckpt", moment, seconds / STEPS))
            args = ["fit", "--ckpt_path", "last"]
        status = wait(start(args, where))
        expected = whole[name]
        result = outcome(run) if status == 0 else {}
        different = [part for part in expected if result.get(part) != expected[part]]
        results.append({"variant": name, "killed": killed, "status": status, "different": different})
    print(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

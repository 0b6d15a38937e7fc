"""Check that memory, threads, open files and time per step do not grow over many fits in a row, or one long fit.

``python -m benchmarks.soak --fits 200`` and ``python -m benchmarks.soak --hours 1`` print one JSON object. Growth
compares the medians of the second and the last tenth of the samples; the first tenth is a warm-up.
"""

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

import cifar_cnn.cli

CONFIG = Path(__file__).parent.parent / "configs" / "quickstart.yaml"
SMALL = [
    *("--data.source.train_size", "600", "--data.source.test_size", "100", "--data.val_size", "100"),
    *("--data.batch_size", "50", "--model.backbone.channels", "[8,8,16]", "--trainer.enable_progress_bar", "false"),
]
LIMIT = 0.05  # growth that passes


class StepTimes(Callback):
    """Times the steps of a fit, and samples the process at the end of the fit and at intervals.

    Args:
        path: file to which a line of JSON is appended for each sample.
        every_seconds: interval between samples.
    """

    def __init__(self, path: str, every_seconds: float = float("inf")) -> None:
        super().__init__()
        self.path = path
        self.every_seconds = every_seconds
        self._steps: list[float] = []
        self._start = self._sampled = time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Start the step's clock."""
        self._start = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop the step's clock, and take a sample if one is due."""
        now = time.perf_counter()
        self._steps.append(now - self._start)
        if now - self._sampled >= self.every_seconds:
            self._sample()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take a sample."""
        self._sample()

    def _sample(self) -> None:
        if self._steps:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps({**process(), "step_seconds": statistics.median(self._steps)}) + "\n")
        self._steps.clear()
        self._sampled = time.perf_counter()


def process() -> dict[str, float]:
    """The resources of this process (on Linux): resident bytes, threads, open files."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "resident_bytes": pages * os.sysconf("SC_PAGE_SIZE"),
        "threads": len(os.listdir("/proc/self/task")),
        "python_threads": threading.active_count(),
        "open_files": len(os.listdir("/proc/self/fd")),
    }


def growth(samples: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """The first and the last median of each sampled value, and its relative growth."""
    tenth = max(1, len(samples) // 10)
    first, last = samples[tenth : 2 * tenth] or samples[:1], samples[-tenth:]
    result = {}
    for name in samples[0]:
        begin, end = (statistics.median(sample[name] for sample in part) for part in (first, last))
        result[name] = {"first": begin, "last": end, "growth": end / begin - 1}
    return result


@contextlib.contextmanager
def in_empty_folder() -> Iterator[None]:
    """Run fits in a temporary folder, and send their output to stderr."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def soak(fits: int, hours: float) -> dict[str, Any]:
    """Run the fits and return the figures."""
    epochs = ["--trainer.max_epochs", "-1" if hours else "2", "--model.schedule", "null", "--test_after_fit", "false"]
    minutes, seconds = divmod(int(hours * 3600), 60)
    length = ["--trainer.max_time", f"{minutes // 1440:02d}:{minutes // 60 % 24:02d}:{minutes % 60:02d}:{seconds:02d}"]
    begin = time.perf_counter()
    with in_empty_folder():
        args = ["fit", "--config", str(CONFIG), *SMALL, *epochs, *(length if hours else [])]
        args += ["--trainer.callbacks", "benchmarks.soak.StepTimes", "--trainer.callbacks.path", "samples.jsonl"]
        if hours:
            args += ["--trainer.callbacks.every_seconds", str(hours * 36)]  # a hundred samples
        for _ in range(1 if hours else fits):
            sys.argv = ["cifar-cnn", *args]
            if status := cifar_cnn.cli.run(args):
                sys.exit(status)
        samples = [json.loads(line) for line in Path("samples.jsonl").read_text().splitlines()]
    figures = growth(samples)
    return {
        "fits": 1 if hours else fits,
        "seconds": time.perf_counter() - begin,
        "samples": len(samples),
        **figures,
        "passed": all(figure["growth"] <= LIMIT for figure in figures.values()),
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--fits", type=int, default=200, help="short fits in a row (default: 200)")
    kind.add_argument("--hours", type=float, default=0.0, help="one fit of this many hours instead")
    options = parser.parse_args()
    print(json.dumps(soak(options.fits, options.hours)))


if __name__ == "__main__":
    main()

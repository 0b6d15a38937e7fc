"""The plan of a comparison: train each config with each seed, or resume the unfinished runs of an earlier call."""

import hashlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from cifar_cnn.base.errors import ENDING, InputError, terminable
from cifar_cnn.base.files import write
from cifar_cnn.base.paths import relative
from cifar_cnn.base.process import environment
from cifar_cnn.runs.folders import RUNS, run_folders
from cifar_cnn.runs.run import RunFolder

PLAN = "plan.json"
PROGRAM = Path(__file__).parents[2] / "__main__.py"


@dataclass
class Task:
    """A subprocess that trains and tests a run, or only tests it.

    Attributes:
        name: its name in the results.
        epochs: number of epochs it takes, for the progress bar.
        log: file for its output.
        command: returns the arguments of ``cifar-cnn`` for the remaining work.
        run: returns the folder of the run; None while there is none.
        trains: whether it trains, rather than only tests.
        failure: why there is no result, in one line; empty if there is one.
    """

    name: str
    epochs: int
    log: Path
    command: Callable[[], list[str]]
    run: Callable[[], Path | None]
    trains: bool = True
    failure: str = ""

    def is_done(self) -> bool:
        """Whether its run has been tested."""
        run = self.run()
        return run is not None and RunFolder(run).is_tested


class Fits(Protocol):
    """The arguments of ``cifar-cnn`` for training and testing; the command line implements it."""

    def fit(self, config: Path, seed: int, folder: Path) -> list[str]:
        """Train a config with a seed in ``folder`` and test it."""

    def resume(self, checkpoint: Path) -> list[str]:
        """Resume the run of a checkpoint and test it."""

    def test(self, run: Path) -> list[str]:
        """Test the best checkpoint of a run."""

    def epochs(self, config: Path) -> int:
        """Number of epochs that a config trains for."""


def training(config: Path, seed: int, fits: Fits, folder: Path) -> Task:
    """A task that trains a config with a seed in ``folder``, or resumes the run there, and tests it."""

    def run() -> Path | None:
        return next(iter(reversed(run_folders(folder / RUNS))), None)

    def command() -> list[str]:
        begun = run()
        if begun and (last := begun / "checkpoints" / "last.ckpt").is_file():
            return fits.resume(last)
        return fits.fit(config, seed, folder)

    return Task(f"{config.stem}, seed {seed}", fits.epochs(config), folder / "log.txt", command, run)


def testing(run: Path, fits: Fits, folder: Path) -> Task:
    """A task that tests the best checkpoint of a trained run."""
    return Task(f"test of {run.name}", 1, folder / f"test_{run.name}.txt", lambda: fits.test(run), lambda: run, False)


def identity(items: list[Path], seeds: int, options: list[str]) -> dict[str, Any]:
    """The inputs of a comparison as plain data; equal for calls that do the same work.

    Args:
        items: configs and folders of runs.
        seeds: number of seeds for each config.
        options: options of each fit.
    """
    contents = {str(item): hashlib.sha256(item.read_bytes()).hexdigest() if item.is_file() else "run" for item in items}
    trains = any(item.is_file() for item in items)
    return {"items": contents, "seeds": seeds if trains else None, "options": options}


def plan_folder(plan: dict[str, Any], root: Path, output: Path | None) -> Path:
    """Find the folder in which the same plan was started, or create a new one.

    Args:
        plan: from :func:`identity`.
        root: parent of the folders ``compare_N``.
        output: folder to use instead.

    Raises:
        InputError: ``output`` holds another plan or other files, or cannot be written.
    """
    if output is not None:
        if (output / PLAN).is_file():
            if _read(output) != plan:
                raise InputError(f"{output} holds another comparison (see its {PLAN}): choose another folder")
            return output
        if output.exists() and (not output.is_dir() or list(output.iterdir())):
            raise InputError(f"{output} exists and is not the folder of a comparison: choose another folder")
        folder = output
    else:
        numbers = {int(path.name[8:]): path for path in root.glob("compare_*") if path.name[8:].isdecimal()}
        for number in sorted(numbers, reverse=True):
            if _read(numbers[number]) == plan:
                return numbers[number]
        folder = root / f"compare_{max(numbers, default=-1) + 1}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / PLAN, json.dumps(plan, indent=1) + "\n")
    except OSError as error:
        raise InputError(f"cannot write into {folder}: {error.strerror}") from error
    return folder


def _read(folder: Path) -> Any:
    try:
        return json.loads((folder / PLAN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def carry_out(tasks: list[Task]) -> None:
    """Run the unfinished tasks one after another; a failed task is reported and the others still run."""
    unit = " epochs" if any(task.trains for task in tasks) else " tests"
    with tqdm(total=sum(task.epochs for task in tasks), unit=unit, mininterval=1) as bar:
        before = 0  # epochs of the tasks before this one

        def at(epochs: int) -> None:
            if (new := before + epochs - bar.n) > 0:
                bar.update(new)

        def at_most(most: int, epochs: int) -> None:
            at(min(epochs, most))

        for task in tasks:
            bar.set_description(task.name)
            if not task.is_done():
                status = _run_command(task, partial(at_most, task.epochs))
                if status or not task.is_done():
                    task.failure = _last_words(task.log) or f"exited with status {status} and left no result"
                    bar.write(f"{task.name} failed: {task.failure} ({relative(task.log)})", file=sys.stderr)
            at(task.epochs)
            before += task.epochs


def _run_command(task: Task, at: Callable[[int], None], interval: float = 0.5) -> int:
    """Run the command of a task in a subprocess; ``at`` is called with the number of finished epochs."""
    task.log.parent.mkdir(parents=True, exist_ok=True)
    with task.log.open("w", encoding="utf-8") as log:
        # Started by its path, since -m would prefer a package cifar_cnn in the current folder.
        command = [sys.executable, str(PROGRAM), *task.command()]
        # In its own session, a fit receives one signal rather than two on Ctrl-C, and so saves a checkpoint first.
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment(), start_new_session=True
        )
        with terminable(*ENDING):
            try:
                while process.poll() is None:
                    run = task.run()
                    at(len(RunFolder(run).epochs) if run else 0)
                    time.sleep(interval)
            finally:
                if process.poll() is None:  # this process was interrupted
                    process.terminate()
                    process.wait()
    return process.returncode


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [re.sub("^cifar-cnn: (error: )?", "", line) for line in lines if line.startswith("cifar-cnn: ")]
    return (errors or lines or [""])[-1][:300]

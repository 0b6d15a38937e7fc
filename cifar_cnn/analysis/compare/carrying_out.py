"""Carry out the plan of a comparison: one or several tasks at a time, with one progress bar."""

import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from tqdm import tqdm

from cifar_cnn.analysis.compare.plan import Task
from cifar_cnn.base.errors import ENDING, terminable
from cifar_cnn.base.paths import relative
from cifar_cnn.runs.run import RunFolder


class Started(Protocol):
    """A started task: the methods of ``subprocess.Popen`` that are used here."""

    def poll(self) -> int | None:
        """Return the exit status; None while the task is running."""

    def terminate(self) -> None:
        """Ask the task to save a checkpoint and stop."""

    def wait(self) -> object:
        """Wait until the task has stopped."""


class Engine(Protocol):
    """Starts tasks: on this machine or on a cluster.

    Attributes:
        at_once: number of tasks that may run at the same time.
        interval: seconds between checks of the running tasks.
    """

    at_once: int
    interval: float

    def prepare(self, tasks: Sequence[Task], folder: Path) -> None:
        """Prepare the unfinished tasks of the plan in ``folder``."""

    def start(self, task: Task, place: int) -> Started:
        """Start a task in a free ``place``, from 0 to ``at_once`` - 1."""


def carry_out(tasks: list[Task], engine: Engine, folder: Path) -> None:
    """Carry out the unfinished tasks; a failed task is reported and the others still run.

    If this process is interrupted, it asks all running tasks to save a checkpoint and stop, and waits for them.

    Args:
        tasks: the tasks of the plan.
        engine: starts them.
        folder: folder of the plan.
    """
    waiting = [task for task in tasks if not task.is_done()]
    engine.prepare(waiting, folder)
    running: dict[int, tuple[Task, Started]] = {}
    with _Progress(tasks, waiting) as progress, terminable(*ENDING):
        try:
            while waiting or running:
                for place in sorted(set(range(engine.at_once)) - running.keys())[: len(waiting)]:
                    task = waiting.pop(0)
                    running[place] = task, engine.start(task, place)
                progress.show([task for task, _ in running.values()])
                ended = {place: status for place, (_, each) in running.items() if (status := each.poll()) is not None}
                for place, status in ended.items():
                    progress.end(running.pop(place)[0], status)
                if not ended:
                    time.sleep(engine.interval)
        finally:
            still = [each for _, each in running.values() if each.poll() is None]
            for each in still:
                each.terminate()
            for each in still:
                each.wait()


class _Progress:
    """The progress bar of a plan, in epochs or tests.

    Args:
        tasks: all tasks of the plan.
        waiting: the unfinished ones.
    """

    def __init__(self, tasks: list[Task], waiting: list[Task]) -> None:
        unit = " epochs" if any(task.trains for task in tasks) else " tests"
        self._bar = tqdm(total=sum(task.epochs for task in tasks), unit=unit, mininterval=1)
        self._epochs = {id(task): 0 if task in waiting else task.epochs for task in tasks}

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, running: list[Task]) -> None:
        """Show the running tasks and their finished epochs."""
        first, *others = [task.name for task in running]
        name = f"{first} and {len(others)} more" if others else first
        if self._bar.desc != f"{name}: ":
            self._bar.set_description(name)
        for task in running:
            run = task.run()
            self._at(task, min(len(RunFolder(run).epochs) if run else 0, task.epochs))

    def end(self, task: Task, status: int) -> None:
        """Count a task as done; if it left no result, print why."""
        if status or not task.is_done():
            task.failure = _last_words(task) or f"exited with status {status} and left no result"
            self._bar.write(f"{task.name} failed: {task.failure} ({relative(task.log)})", file=sys.stderr)
        self._at(task, task.epochs)

    def _at(self, task: Task, epochs: int) -> None:
        self._epochs[id(task)] = max(epochs, self._epochs[id(task)])
        if (new := sum(self._epochs.values()) - self._bar.n) > 0:
            self._bar.update(new)


def _last_words(task: Task) -> str:
    """The last error in the log of a task, or else its last line; empty if it has no log."""
    if not task.log.is_file():
        return ""
    text = task.log.read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [re.sub("^cifar-cnn: (error: )?", "", line) for line in lines if line.startswith("cifar-cnn: ")]
    return (errors or lines or [""])[-1][:300]

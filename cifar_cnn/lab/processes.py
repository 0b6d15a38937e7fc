"""Check each exercise in its own process, so that a student's code can end only its own check.

One process, :mod:`cifar_cnn.lab.host`, imports PyTorch, which takes seconds, and starts a process for each exercise.
"""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cifar_cnn.base import process
from cifar_cnn.lab.findings import Finding, Outcome

SECONDS = 30.0  # for one exercise; all together take less


class Task(NamedTuple):
    """One exercise of one file."""

    path: str
    exercise: str


def check_files(tasks: Iterable[Task], seconds: float = SECONDS) -> Iterator[tuple[Task, Outcome]]:
    """Check each exercise in its own process, as many at a time as there are cores.

    Args:
        tasks: the exercises to check.
        seconds: time limit for each task.

    Yields:
        Each task with its outcome, in the order in which they end.
    """
    request = json.dumps({"tasks": list(tasks), "seconds": seconds})
    root = str(Path(__file__).parents[2])  # where cifar_cnn is imported from
    fixed = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONSAFEPATH", "PYTHONDONTWRITEBYTECODE"), "1")
    fixed["MPLBACKEND"] = "agg"  # plt.show() opens no window to wait for
    host = subprocess.Popen(
        [sys.executable, "-m", "cifar_cnn.lab.host"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        cwd=root,  # is on its sys.path, where no student's file may shadow a library
        env={**process.environment(), **fixed},
    )
    assert host.stdin is not None
    assert host.stdout is not None
    try:
        host.stdin.write(request)
        host.stdin.close()
        for line in host.stdout:
            answer = json.loads(line)
            yield Task(*answer["task"]), outcome_of(answer["outcome"])
        if host.wait():
            raise RuntimeError(f"the process that runs the checks ended with status {host.returncode}")
    finally:
        host.terminate()  # ends its own processes
        host.stdout.close()
        host.wait()


def outcome_of(stored: dict[str, Any]) -> Outcome:
    """Rebuild an outcome from the result of ``asdict``."""
    return Outcome(**{**stored, "findings": tuple(Finding(**each) for each in stored["findings"])})

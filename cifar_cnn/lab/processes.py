"""Check files in processes of their own: whatever a student's code does, it ends only its own check.

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
    """Check exercises in processes of their own, as many at a time as there are cores.

    Args:
        tasks: what to check.
        seconds: time limit of each.

    Yields:
        Each task with its outcome, in the order in which they end.
    """
    request = json.dumps({"tasks": list(tasks), "seconds": seconds})
    root = str(Path(__file__).parents[2])  # where cifar_cnn is imported from
    fixed = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONSAFEPATH", "PYTHONDONTWRITEBYTECODE"), "1")
    fixed["MPLBACKEND"] = "agg"  # plt.show() opens no window and does not wait for one to be closed
    host = subprocess.Popen(
        [sys.executable, "-m", "cifar_cnn.lab.host"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        cwd=root,  # on its sys.path then, where no file of the student's may stand in for a library
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
    """An outcome from the values that ``asdict`` gives."""
    return Outcome(**{**stored, "findings": tuple(Finding(**each) for each in stored["findings"])})

"""The process that starts another process for each check, by fork on Linux, otherwise by spawn.

It reads the tasks as JSON from standard input and prints a line of JSON for each outcome.
"""

import gc
import json
import multiprocessing
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from cifar_cnn.lab.exercises import find
from cifar_cnn.lab.findings import Outcome, finding
from cifar_cnn.lab.loading import check_file
from cifar_cnn.lab.processes import Task, outcome_of
from cifar_cnn.lab.student import raised

_GRACE = 10.0  # seconds after the time limit until a check that ignores it is killed
_START = 60.0  # seconds for a new process to import PyTorch on a slow machine


class _Running(NamedTuple):
    task: Task
    process: BaseProcess
    receiver: Connection
    deadline: float


def _serve(tasks: list[Task], seconds: float) -> Iterator[tuple[Task, Outcome]]:
    """Run the tasks; a file that cannot be imported is tried only once."""
    context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    limit = 2 * seconds + _GRACE + (_START if context.get_start_method() == "spawn" else 0)  # for import and check
    most = max(1, min(os.cpu_count() or 1, 8))
    waiting, running = list(tasks), list[_Running]()
    broken: dict[str, Outcome] = {}
    try:
        while waiting or running:
            while waiting and waiting[0].path in broken:
                task = waiting.pop(0)
                yield task, Outcome(task.exercise, "failed", broken[task.path].findings, imported=False)
            while waiting and len(running) < most and waiting[0].path not in broken:
                running.append(_start(context, waiting.pop(0), seconds, limit))
            wait([each.process.sentinel for each in running], timeout=0.2)
            for each in [each for each in running if _has_ended(each)]:
                running.remove(each)
                outcome = _result(each)
                if not outcome.imported:
                    broken[each.task.path] = outcome
                yield each.task, outcome
    finally:
        for each in running:
            _kill(each.process)


def _start(context: Any, task: Task, seconds: float, limit: float) -> _Running:
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_check, args=(task, seconds, sender))
    process.start()
    sender.close()
    return _Running(task, process, receiver, time.monotonic() + limit)


def _has_ended(running: _Running) -> bool:
    return not running.process.is_alive() or time.monotonic() > running.deadline


def _result(running: _Running) -> Outcome:
    late = running.process.is_alive()
    _kill(running.process)  # and processes that the student's code has started
    running.process.join()
    with suppress(EOFError, OSError):
        if running.receiver.poll():
            return outcome_of(running.receiver.recv())
    status = running.process.exitcode or 0
    how = "time limit" if late else signal.Signals(-status).name if status < 0 else f"exit status {status}"
    return Outcome(running.task.exercise, "failed", (finding("crashed", how=how),))


def _kill(process: BaseProcess) -> None:
    if hasattr(os, "killpg") and process.pid:
        with suppress(OSError):  # it has ended, or has not created its own process group yet
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()


def _check(task: Task, seconds: float, sender: Connection) -> None:
    """Check one exercise; the body of a process."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(os, "setsid"):
        os.setsid()  # its own process group, to be killed as a whole
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    path = Path(task.path)
    os.chdir(path.parent)
    try:
        outcome = check_file(path, find(task.exercise), seconds)
    except BaseException as error:  # such as a KeyboardInterrupt raised by the student's code
        outcome = Outcome(task.exercise, "failed", (raised(error, find(task.exercise).name),))
    sender.send(asdict(outcome))
    sender.close()
    os._exit(0)  # no thread or exit handler of the student's code delays it


def _main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C, the parent process ends this one
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(0))
    warnings.simplefilter("ignore")
    gc.freeze()  # no process looks through what is imported, which would copy its memory
    request = json.loads(sys.stdin.read())
    for task, outcome in _serve([Task(*each) for each in request["tasks"]], request["seconds"]):
        print(json.dumps({"task": task, "outcome": asdict(outcome)}), flush=True)


if __name__ == "__main__":
    _main()

"""Check a student's class or function against an exercise."""

import io
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from types import FrameType
from typing import Any

import torch

from cifar_cnn.lab import filters, loss, networks, residual, resnet
from cifar_cnn.lab.exercises import Exercise
from cifar_cnn.lab.findings import Finding, NotDone, Outcome, Wrong
from cifar_cnn.lab.processes import SECONDS
from cifar_cnn.lab.student import TooLong, raised

_CHECKS: dict[str, Callable[[Any, str, str], list[Finding]]] = {
    "4a": residual.check,
    "4b": resnet.check,
    "5": loss.check,
    "7": filters.check,
}


def check_object(given: Any, exercise: Exercise, seconds: float = SECONDS) -> Outcome:
    """Check a class, a function or a network in this process.

    Its output is hidden, and no random generator changes.

    Args:
        given: the student's answer.
        exercise: the exercise to solve.
        seconds: time limit, in the main thread of systems that have alarms.
    """
    number, name = exercise.number, exercise.name
    check = _CHECKS.get(number, networks.check)
    try:
        with guarded(seconds):
            found = check(given, number, name)
    except NotDone:
        return Outcome(number, "todo")
    except Wrong as wrong:
        found = list(wrong.findings)
    except (Exception, TooLong) as error:  # from the student's code, in the backward of an operation
        found = [raised(error, name)]
    return Outcome(number, "failed" if found else "passed", tuple(found))


@contextmanager
def guarded(seconds: float) -> Iterator[None]:
    """Run a student's code without its output, with gradients, and with a time limit.

    Raises:
        TooLong: in the student's code, when the time is up.
    """
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(_Nowhere()))
        stack.enter_context(redirect_stderr(_Nowhere()))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(_alarm(seconds))
        yield


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum: int, frame: FrameType | None) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)  # again each second: an `except:` may have caught the first
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class _Nowhere(io.TextIOBase):
    def write(self, text: str) -> int:
        return len(text)

"""The exceptions that end a command with one line instead of a traceback."""

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from cifar_cnn import streams

_BY_A_SIGNAL = 128  # a shell's exit status of a process that a signal has ended is above


class InputError(ValueError):
    """Something the user gave (a path, an option, an image, a checkpoint) cannot be used.

    The message is one line that says what is wrong and what to do. The command line prints only this line and exits
    with status 2; a notebook prints only this line too.

    Args:
        message: the line; it names arguments as in Python.
        options: keys of a config to change, such as ``data.source.root``; the command line adds them to the message as
            options.
    """

    def __init__(self, message: str = "", options: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.options = tuple(options)

    def _render_traceback_(self) -> list[str]:  # IPython asks for it
        return [f"{type(self).__name__}: {self}"]


class Stopped(Exception):
    """A fit was stopped early, in a controlled way: by a signal, or because continuing was pointless.

    The message is one line that says why, and how to resume.

    Args:
        message: the line.
        status: the exit status of the command.
        in_all: whether all ranks raise it at the same step.
    """

    def __init__(self, message: str, status: int = 1, in_all: bool = True) -> None:
        super().__init__(message)
        self.status = status
        self.in_all = in_all

    def _render_traceback_(self) -> list[str]:  # IPython asks for it
        return [str(self)]


# SIGTERM, and the signal of a terminal that was closed, which Windows lacks.
ENDING = (signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))


class Terminated(KeyboardInterrupt):
    """A signal of ``ENDING``, which ends a command as Ctrl-C does.

    Args:
        signum: which signal it was.
    """

    def __init__(self, signum: int = signal.SIGTERM) -> None:
        super().__init__(signum)
        self.signum = signum


def is_interruption(error: BaseException) -> bool:
    """Whether a fit was ended by a signal rather than by a failure."""
    return isinstance(error, KeyboardInterrupt) or (isinstance(error, Stopped) and error.status > _BY_A_SIGNAL)


@contextmanager
def terminable(*signals: signal.Signals) -> Iterator[None]:
    """Let signals raise Terminated, but for those that are taken already or, as SIGHUP under nohup, ignored."""

    def terminate(signum: int, frame: FrameType | None) -> None:
        streams.leave_lost_terminal()
        raise Terminated(signum)

    main = threading.current_thread() is threading.main_thread()  # only it may
    free = [each for each in signals if main and signal.getsignal(each) == signal.SIG_DFL]
    for each in free:
        signal.signal(each, terminate)
    try:
        yield
    finally:
        for each in free:
            signal.signal(each, signal.SIG_DFL)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and what it was raised from, or while handling, innermost last."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__

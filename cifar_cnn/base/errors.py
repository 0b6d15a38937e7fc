"""The exceptions that end a command with one line instead of a traceback."""

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from cifar_cnn.base import streams

_BY_A_SIGNAL = 128  # exit statuses above this mean that a signal ended the process


class InputError(ValueError):
    """An input of the user (a path, an option, an image, a checkpoint) cannot be used.

    The message is one line that says what is wrong and what to do. The command line prints only this line and exits
    with status 2; a notebook also prints only this line.

    Args:
        message: the line; it names arguments as in Python.
        options: keys of a config to change, such as ``data.source.root``; the command line adds the corresponding
            options to the message.
    """

    def __init__(self, message: str = "", options: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.options = tuple(options)

    def _render_traceback_(self) -> list[str]:  # used by IPython
        return [f"{type(self).__name__}: {self}"]


class Stopped(Exception):
    """A fit was stopped early in a controlled way, such as by a signal or a loss that became NaN.

    The message is one line that says why it was stopped and how to resume.

    Args:
        message: the line.
        status: the exit status of the command.
        in_all: whether all ranks raise it at the same step.
    """

    def __init__(self, message: str, status: int = 1, in_all: bool = True) -> None:
        super().__init__(message)
        self.status = status
        self.in_all = in_all

    def _render_traceback_(self) -> list[str]:  # used by IPython
        return [str(self)]


# SIGTERM, and SIGHUP for a closed terminal, which Windows lacks.
ENDING = (signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))


class Terminated(KeyboardInterrupt):
    """A signal in ``ENDING`` was received; it ends a command like Ctrl-C.

    Args:
        signum: number of the signal.
    """

    def __init__(self, signum: int = signal.SIGTERM) -> None:
        super().__init__(signum)
        self.signum = signum


def is_interruption(error: BaseException) -> bool:
    """Whether a fit was ended by a signal rather than by a failure."""
    return isinstance(error, KeyboardInterrupt) or (isinstance(error, Stopped) and error.status > _BY_A_SIGNAL)


@contextmanager
def terminable(*signals: signal.Signals) -> Iterator[None]:
    """Within the context, let signals raise Terminated unless they are handled already or ignored (SIGHUP by nohup)."""

    def terminate(signum: int, frame: FrameType | None) -> None:
        streams.leave_lost_terminal()
        raise Terminated(signum)

    main = threading.current_thread() is threading.main_thread()  # only the main thread may set handlers
    free = [each for each in signals if main and signal.getsignal(each) == signal.SIG_DFL]
    for each in free:
        signal.signal(each, terminate)
    try:
        yield
    finally:
        for each in free:
            signal.signal(each, signal.SIG_DFL)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and its chain of causes and contexts, starting with the exception itself."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__

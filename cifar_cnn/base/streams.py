"""Handle standard streams that are closed, full or limited to a few characters."""

import errno
import io
import os
import stat
import sys
from contextlib import suppress
from typing import Any

# No reader, a full disk, an exceeded quota or maximum file size, a closed terminal.
_LOST = (errno.EPIPE, errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG, errno.EIO)


def prepare() -> None:
    """Make sure that a command can write to its standard streams.

    Closed streams are connected to the null device: otherwise the first file that a program opens would get the
    stream's number and receive all output of libraries. Characters that the encoding lacks are written as escapes, such
    as ``\\u4e00``.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest free number, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if number == 0 else "w", encoding="utf-8"))  # noqa: SIM115  (stays open)
    if isinstance(sys.stderr, io.TextIOWrapper) and sys.stderr is sys.__stderr__:
        sys.stderr = _expendable(sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _expendable(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    """The same stream, except that it drops what it cannot write: a full disk for messages must not end a run."""
    raw = _Expendable(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), stream.encoding, stream.errors, line_buffering=True)


class _Expendable(io.FileIO):
    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if not is_lost(error):
                raise
            return len(data)


def is_lost(error: OSError) -> bool:
    """Whether an exception means that an open stream, such as standard output, can no longer be written."""
    return error.filename is None and error.errno in _LOST


def drop_output() -> None:
    """Discard pending output, because Python would fail to flush standard output when it exits."""
    _to_null_device(sys.stdout.fileno())


def leave_lost_terminal() -> None:
    """If the terminal was closed, send output to the null device, because writing to the terminal would fail."""
    for number in (1, 2):
        with suppress(OSError):
            if stat.S_ISCHR(os.fstat(number).st_mode) and not os.isatty(number):
                _to_null_device(number)


def _to_null_device(number: int) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, number)
    os.close(null)

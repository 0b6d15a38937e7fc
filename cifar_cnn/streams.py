"""Standard output and error that are closed, full or of a narrow encoding."""

import errno
import os
import stat
import sys
from contextlib import suppress

# No reader, a full disk, a limit of the user or of a file's size, a terminal that is gone.
_LOST = (errno.EPIPE, errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG, errno.EIO)


def prepare() -> None:
    """Let a command write what it has to say, whatever its streams are.

    A closed stream leads to the null device: the first file that a program opens would get its number otherwise, and
    with it all that a library prints. Characters that the encoding lacks are written as escapes, such as ``\\u4e00``.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest number that is free, this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if number == 0 else "w", encoding="utf-8"))  # noqa: SIM115  (stays open)
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def is_lost(error: OSError) -> bool:
    """Whether an exception says that an open stream, such as standard output, cannot be written any more."""
    return error.filename is None and error.errno in _LOST


def drop_output() -> None:
    """Write what is still to be written to the null device: Python flushes standard output when it exits."""
    _to_null_device(sys.stdout.fileno())


def leave_lost_terminal() -> None:
    """If the terminal was closed, write to the null device instead: writing to the terminal would fail."""
    for number in (1, 2):
        with suppress(OSError):
            if stat.S_ISCHR(os.fstat(number).st_mode) and not os.isatty(number):
                _to_null_device(number)


def _to_null_device(number: int) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, number)
    os.close(null)

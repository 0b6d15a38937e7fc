"""Reduce a traceback to the frames in the user's own code."""

import site
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from cifar_cnn.base.errors import InputError

_PACKAGE = Path(__file__).parent.parent
_PACKAGE_FOLDERS = {"site-packages", "dist-packages"}


def is_own(filename: str) -> bool:
    """Whether a source file is the user's: not part of this package, an installed package or Python."""
    path = Path(filename)
    if filename.startswith("<") or _PACKAGE in path.parents or not _PACKAGE_FOLDERS.isdisjoint(path.parts):
        return False
    installed = [*sysconfig.get_paths().values(), *site.getsitepackages(), site.getusersitepackages()]
    libraries = {Path(folder) for folder in installed} - {Path(sysconfig.get_path("data"))}
    return libraries.isdisjoint(path.parents)


def own_line(error: BaseException) -> str | None:
    """The innermost line of the user's code that an exception went through, such as ``mine.py, line 13: x = f(x)``."""
    own = [each for each in traceback.extract_tb(error.__traceback__) if is_own(each.filename)]
    return f"{Path(own[-1].filename).name}, line {own[-1].lineno}: {own[-1].line}" if own else None


def library_message(error: Exception, most: int = 200) -> str:
    """Type and message of a library's error in one line of at most ``most`` characters.

    Raises:
        Exception: the error itself, if it is an InputError or went through the user's code.
    """
    if isinstance(error, InputError) or own_line(error) is not None:
        raise error
    return " ".join(f"{type(error).__name__}: {error}".split())[:most]


def with_own_frames(error: Exception) -> Exception:
    """Keep only the frames in the user's code in an exception's traceback.

    The causes of the exception are treated in the same way; causes without such frames are dropped. If the exception
    itself has no such frames, the nearest cause that has some is returned. If none has, the exception is unchanged.
    """
    frames = _own_frames(error.__traceback__)
    if frames is None:  # a library has wrapped the user's exception; the wrapper does not help the user
        own = next((each for each in causes(error) if _own_frames(each.__traceback__) is not None), None)
        return error if own is None else with_own_frames(own)
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if isinstance(cause, Exception) and _own_frames(cause.__traceback__) is not None:
        with_own_frames(cause)
    elif cause is not None:
        error.__cause__ = None  # which suppresses the context too
    return error.with_traceback(frames)


def causes(error: BaseException) -> Iterator[Exception]:
    """The exceptions that caused an exception, the direct cause first."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    while isinstance(cause, Exception):
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def own_traceback(error: Exception) -> str | None:
    """The user's frames and the message as Python prints them; None if no frame is in the user's code."""
    error = with_own_frames(error)
    if _own_frames(error.__traceback__) is None:
        return None
    return "".join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip()


def _own_frames(tb: TracebackType | None) -> TracebackType | None:
    if tb is None:
        return None
    following = _own_frames(tb.tb_next)
    if not is_own(tb.tb_frame.f_code.co_filename):
        return following
    return TracebackType(following, tb.tb_frame, tb.tb_lasti, tb.tb_lineno)

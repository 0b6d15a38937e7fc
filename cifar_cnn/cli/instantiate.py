"""Plain errors while the parts that a config names are made."""

from collections.abc import Iterator
from contextlib import contextmanager

from jsonargparse import Namespace
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from cifar_cnn.cli import class_options
from cifar_cnn.errors import InputError, causes
from cifar_cnn.resume import library_errors
from cifar_cnn.resume.endings import is_raised_in
from cifar_cnn.runs.checkpoints import Checkpoint
from cifar_cnn.trust import names as trust


def check_parts(config: Namespace) -> None:
    """Check the parts that a config names, before any of them is made.

    Raises:
        InputError: a function is not allowed, or a class lacks an argument.
    """
    trust.check_functions(config)
    for option, part, arguments in library_errors.chosen_parts(config.as_dict()):
        class_options.check_required(option, part, arguments)


@contextmanager
def plain_errors_of_parts(config: Namespace, checkpoint: Checkpoint | None) -> Iterator[None]:
    """Put the user's mistakes in one line while a network, the images and the trainer are made.

    Args:
        config: names them.
        checkpoint: that they come from, if any.

    Raises:
        InputError: in place of the error of a class or library; an error of the user's own class stays as it is.
    """
    try:
        yield
    except Exception as error:  # jsonargparse wraps the error of a class
        if mistake := _mistake(error):
            raise mistake from error
        if checkpoint is None:
            if line := library_errors.reason(error, config.as_dict()):
                raise InputError(line) from error
            raise  # with the traceback of the user's own class
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise InputError(f"{checkpoint.path} was trained with parts that cannot be created here: {reason}") from error


def _mistake(error: Exception) -> InputError | None:
    """The mistake behind an error, if it or one of its causes tells."""
    for cause in causes(error):
        if isinstance(cause, InputError):
            return cause
        if isinstance(cause, ModuleNotFoundError):
            return InputError(f"a package is not installed: {cause}")
        if isinstance(cause, TypeError) and is_raised_in(cause, "jsonargparse"):  # by the call of the class
            return InputError(str(cause))
        if is_raised_in(cause, "lightning"):
            return InputError(f"trainer: {' '.join(str(cause).split())}")
    return None


@contextmanager
def plain_errors_of_trainer() -> Iterator[None]:
    """Put an option that Lightning rejects in one line.

    Raises:
        InputError: in place of Lightning's error.
    """
    try:
        yield
    except (TypeError, ValueError, MisconfigurationException) as error:
        if isinstance(error, TypeError) and not is_raised_in(error, "lightning"):
            raise  # with the traceback of the user's own class
        raise InputError(f"trainer: {error}") from error

"""Report errors in one line while the classes of a config are instantiated."""

from collections.abc import Iterator
from contextlib import contextmanager

from jsonargparse import Namespace
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from cifar_cnn.base.errors import InputError, Stopped, causes
from cifar_cnn.cli import class_options
from cifar_cnn.cli.transforms import check_transforms
from cifar_cnn.resume import library_errors
from cifar_cnn.resume.endings import is_raised_in
from cifar_cnn.runs.checkpoints import Checkpoint
from cifar_cnn.trust import names as trust


def check_parts(config: Namespace) -> None:
    """Check the classes and functions of a config before any of them is instantiated.

    Raises:
        InputError: a function is not allowed, or an argument of a class is missing.
    """
    trust.check_functions(config)
    check_transforms(config)
    for option, part, arguments in library_errors.chosen_parts(config.as_dict()):
        class_options.check_required(option, part, arguments)


@contextmanager
def plain_errors_of_parts(config: Namespace, checkpoint: Checkpoint | None) -> Iterator[None]:
    """Report the user's mistakes in one line while the model, the data module and the trainer are instantiated.

    Args:
        config: the config to instantiate.
        checkpoint: the checkpoint that provides the defaults, if any.

    Raises:
        InputError: instead of the error of a class or library; errors of the user's own classes are not changed.
    """
    try:
        yield
    except Stopped:  # by a signal, during a search
        raise
    except Exception as error:  # jsonargparse wraps the error of a class
        if mistake := _mistake(error):
            raise mistake from error
        if checkpoint is None:
            if line := library_errors.reason(error, config.as_dict()):
                raise InputError(line) from error
            raise  # with the traceback of the user's own class
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise InputError(f"{checkpoint.path} was trained with classes that cannot be created: {reason}") from error


def _mistake(error: Exception) -> InputError | None:
    """The user's mistake that caused an error; None if neither the error nor its causes identify one."""
    for cause in causes(error):
        if isinstance(cause, InputError):
            return cause
        if isinstance(cause, ModuleNotFoundError):
            return InputError(f"a package is not installed: {cause}")
        if isinstance(cause, TypeError) and is_raised_in(cause, "jsonargparse"):  # from calling the class
            return InputError(str(cause))
        if is_raised_in(cause, "lightning"):
            return InputError(f"trainer: {' '.join(str(cause).split())}")
    return None


@contextmanager
def plain_errors_of_trainer() -> Iterator[None]:
    """Report in one line an option that Lightning rejects.

    Raises:
        InputError: instead of Lightning's error.
    """
    try:
        yield
    except (TypeError, ValueError, MisconfigurationException) as error:
        if isinstance(error, TypeError) and not is_raised_in(error, "lightning"):
            raise  # with the traceback of the user's own class
        raise InputError(f"trainer: {error}") from error

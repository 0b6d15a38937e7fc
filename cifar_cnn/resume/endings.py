"""Turn exceptions of Lightning, the operating system and the device into one line that says how to resume."""

import shutil
import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import lightning.pytorch as pl
from lightning.fabric.utilities.spike import TrainingSpikeException
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from cifar_cnn import distributed as processes
from cifar_cnn.base.errors import InputError, Stopped, Terminated
from cifar_cnn.base.paths import relative
from cifar_cnn.resume import library_errors
from cifar_cnn.resume.checkpoints import how_to_resume, last_checkpoint
from cifar_cnn.resume.device_errors import device_failure


@contextmanager
def errors_in_one_line(trainer: pl.Trainer, command: str, new_folder: Path | None = None) -> Iterator[None]:
    """Convert exceptions that end a run early to ``InputError`` or ``Stopped``, but not those of the user's own code.

    A run that fails before its first step leaves no folder behind.

    Args:
        trainer: the Trainer of the run.
        command: ``fit``, ``validate`` or ``test``.
        new_folder: the run's folder, if this run created it.
    """
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        with library_errors.loggers_in_one_line():
            yield
    except (InputError, MisconfigurationException):
        _drop(new_folder, trainer)
        raise
    except SystemExit as end:
        # Lightning raises this on a Ctrl-C that StopOnSignal does not handle: before the first step, or a second one.
        if not isinstance(end.__context__, KeyboardInterrupt):
            raise
        if not _is_saved(trainer):
            _drop(new_folder, trainer)
        what, status = interruption(end.__context__)
        then = f": {how_to_resume(trainer)}" if command == "fit" else ""
        raise Stopped(f"{what}{then}", status, in_all=False) from end
    except OSError as error:  # a full disk, or a missing or read-only folder
        if isinstance(error, BrokenPipeError) and command != "fit":
            raise  # handled in __main__.py
        raise _of_the_system(error, trainer, command, new_folder) from error
    except (AttributeError, ImportError, RuntimeError, TypeError, ValueError, ZeroDivisionError) as error:
        if (ending := _of_a_library(error, trainer, command, new_folder)) is None:
            raise  # raised by the user's own code
        raise ending from error
    finally:
        # Lightning leaves Ctrl-C ignored after an interrupted fit, but a notebook keeps running.
        if threading.current_thread() is threading.main_thread() and interrupt is not None:
            signal.signal(signal.SIGINT, interrupt)


def _of_the_system(error: OSError, trainer: pl.Trainer, command: str, new_folder: Path | None) -> Exception:
    """The exception to raise when a file could not be read or written."""
    where = error.filename or new_folder or trainer.ckpt_path
    where = where and min(str(where), relative(where), key=len)
    reason = f"{where}: {error.strerror or error}" if where else str(error)
    return _ended(reason, trainer, command, new_folder)


def _ended(reason: str, trainer: pl.Trainer, command: str, new_folder: Path | None) -> Exception:
    if command == "fit" and _is_saved(trainer) and trainer.global_step:
        return _stopped(trainer, reason)
    _drop(new_folder, trainer)
    return InputError(f"{command} failed: {reason}")


def _of_a_library(error: Exception, trainer: pl.Trainer, command: str, new_folder: Path | None) -> Exception | None:
    """The exception to raise after the loss of a process or an error of the device or Lightning; None for any other."""
    if processes.is_loss_of_a_process(error):
        then = how_to_resume(trainer) if command == "fit" else f"run  cifar-cnn {command}  again"
        return processes.loss_of_a_process(trainer, error, then)
    if failure := device_failure(error):
        return _ended(failure, trainer, command, new_folder)
    if not is_raised_in(error, "lightning"):
        return None
    reason = str(error) or type(error).__name__
    if isinstance(error, TrainingSpikeException):  # raised by SpikeDetection to end the fit
        return _stopped(trainer, reason)
    _drop(new_folder, trainer)
    return InputError(f"trainer: {reason}")


def interruption(interrupt: KeyboardInterrupt) -> tuple[str, int]:
    """How a run was interrupted, and the matching exit status."""
    if isinstance(interrupt, Terminated):
        return f"ended by {signal.Signals(interrupt.signum).name}", 128 + interrupt.signum
    return "interrupted", 128 + signal.SIGINT


def is_raised_in(error: BaseException, package: str) -> bool:
    """Whether an exception was raised by the code of a package."""
    modules = [str(frame.f_globals.get("__name__", "")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(modules) and modules[-1].startswith(f"{package}.")


def _stopped(trainer: pl.Trainer, reason: str) -> Stopped:
    return Stopped(f"ended at step {trainer.global_step}: {reason}; {how_to_resume(trainer)}", in_all=False)


def _is_saved(trainer: pl.Trainer) -> bool:
    last = last_checkpoint(trainer)
    return last is not None and last.path is not None


def _drop(folder: Path | None, trainer: pl.Trainer) -> None:
    if folder is not None and trainer.global_step == 0:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # it holds other runs
            folder.parent.rmdir()

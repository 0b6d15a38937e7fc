"""Run a command line; report errors in one line and as the exit status."""

import importlib
import io
from contextlib import redirect_stdout, suppress

from lightning.pytorch.utilities.exceptions import MisconfigurationException

from cifar_cnn import distributed as processes
from cifar_cnn.base import packaged_configs, process
from cifar_cnn.base.errors import ENDING, InputError, Stopped, terminable
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.cli import arguments, checkpoint_option, command_names, model_class
from cifar_cnn.cli.configs import check_configs, option_values
from cifar_cnn.cli.parser import CLI
from cifar_cnn.hardware import configure_hardware
from cifar_cnn.quiet import plain_output
from cifar_cnn.resume.endings import interruption
from cifar_cnn.runs import kept_code
from cifar_cnn.trust import names as trust
from cifar_cnn.trust.tracebacks import with_own_frames


def run(args: list[str], cli: type[CLI] = CLI, model: type[ImageClassifier] = ImageClassifier) -> int:
    """Run a command line; return the exit status, 2 for a user's mistake.

    Args:
        args: the command and its options.
        cli: class that implements ``fit``, ``validate`` and ``test``.
        model: class to train, such as a subclass with its own training step, optimizers or additional arguments.
    """
    configure_hardware()
    try:
        return _run(args, cli, model)
    except (InputError, MisconfigurationException) as error:
        options = ", ".join(f"--{name}" for name in error.options) if isinstance(error, InputError) else ""
        line = f"cifar-cnn: error: {' '.join(str(error).split())}"
        processes.stop_with_message(f"{line} ({options})" if options else line)
        return 2
    except Stopped as stopped:
        if stopped.in_all and not processes.prints_messages():
            return 0  # with another status, Lightning would kill rank 0, which may still be writing
        processes.stop_with_message(f"\ncifar-cnn: {stopped}", processes.SECONDS_TO_END if stopped.in_all else 0)
        return stopped.status
    except KeyboardInterrupt as interrupt:
        what, status = interruption(interrupt)
        if processes.prints_messages():
            processes.stop_with_message(f"\ncifar-cnn: {what}")
        return status
    except Exception as error:
        raise with_own_frames(error)  # noqa: B904  (the same exception)
    finally:
        processes.disconnect()


def _run(args: list[str], cli: type[CLI], model: type[ImageClassifier]) -> int:
    typed, args = args, packaged_configs.with_paths(args)
    check_configs(option_values(args, "-c", "--config"))
    if mistake := command_names.mistake(args[0] if args and not args[0].startswith("-") else None):
        raise InputError(mistake)
    # During training, StopOnSignal handles these signals. The first process ends the other processes.
    ends = () if process.local_rank() else ENDING
    named = trust.packages_of_options(args)
    with terminable(*ends), plain_output(), trust.import_policy(named), kept_code.unloading_copies():
        if args[0] in command_names.ANALYSES:
            command_names.check_that_own_class_is_trained(args, model)
            options = arguments.parse(args)
            return importlib.import_module(f"cifar_cnn.cli.commands.{args[0]}").run(options)
        _parsed(typed, cli, model).start()
        if wrong := processes.end_together():
            raise Stopped(wrong, in_all=False)
        return 0


def _parsed(args: list[str], cli: type[CLI] = CLI, model: type[ImageClassifier] = ImageClassifier) -> CLI:
    """Parse ``fit``, ``validate`` or ``test`` as typed, with the options of the model class."""
    command, *options = packaged_configs.with_paths(args)
    model = model_class.chosen(options, model)
    if checkpoint := checkpoint_option.read(command, options):
        model = checkpoint_option.trained_class(command, options, checkpoint, model)
    return cli(command, args[1:], model, checkpoint)


def check_options(args: list[str]) -> None:
    """Check the options and configs of a command line without running it.

    Raises:
        InputError: the command would reject an option or config.
    """
    args = packaged_configs.with_paths(args)
    check_configs(option_values(args, "-c", "--config"))
    with suppress(SystemExit), redirect_stdout(io.StringIO()), trust.import_policy(trust.packages_of_options(args)):
        _parsed([*args, "--print_config"])

"""The command line: LightningCLI with the defaults, links and error messages of this project."""

import argparse
import importlib
import io
import logging
import os
import re
import shlex
import signal
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from jsonargparse import DefaultHelpFormatter, Namespace
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException

import cifar_cnn.backbones
import cifar_cnn.losses
import cifar_cnn.optim  # noqa: F401  (imported so that the command line knows the classes by their short names)
from cifar_cnn import commands, compat
from cifar_cnn import distributed as processes
from cifar_cnn.callbacks.filter_images import FilterImages
from cifar_cnn.callbacks.given import check_given
from cifar_cnn.callbacks.own_code import OwnCode
from cifar_cnn.callbacks.predictions import StorePredictions
from cifar_cnn.callbacks.run_record import RunRecord
from cifar_cnn.callbacks.save_config import SaveConfig
from cifar_cnn.callbacks.summary import RunSummary
from cifar_cnn.callbacks.tensorboard import TensorBoardPages
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.cli import arguments as command_arguments
from cifar_cnn.cli import class_options, model_class
from cifar_cnn.cli.model_class import ModelClassParser
from cifar_cnn.cli.plain_errors import check_configs, explain, option_values
from cifar_cnn.data import CIFAR10DataModule
from cifar_cnn.errors import InputError, Stopped, terminable
from cifar_cnn.hardware import best_precision, use_all_of_the_hardware
from cifar_cnn.quiet import plain_output
from cifar_cnn.resume import library_errors
from cifar_cnn.resume.checkpoints import (
    BestCheckpoint,
    LastCheckpoint,
)
from cifar_cnn.resume.endings import interruption, is_raised_in
from cifar_cnn.resume.not_finite import NotFinite
from cifar_cnn.resume.resumable import check_class, check_same
from cifar_cnn.runs import kept_code, trained_as
from cifar_cnn.runs.checkpoints import Checkpoint, read_checkpoint, read_to_resume
from cifar_cnn.runs.contents import class_path
from cifar_cnn.runs.folders import RUNS, find_checkpoint, run_of
from cifar_cnn.runs.results import ResultFiles, is_other_source
from cifar_cnn.trainer import Trainer
from cifar_cnn.trust import names as trust
from cifar_cnn.trust.tracebacks import with_own_frames
from cifar_cnn.tuning import check_resumed, tune

log = logging.getLogger("cifar_cnn")

_DESCRIPTIONS = {
    "fit": "Train what a config and the options describe, into a new folder lightning_logs/version_N.",
    "validate": "Accuracy on the validation images, of the newest run's best checkpoint or another.",
    "test": "Accuracy on the test images, of the newest run's best checkpoint or another.",
}
# argparse's own usage would be a page of options in square brackets.
_PARSERS = {
    command: {"description": f"{text} All options:", "usage": f"cifar-cnn {command} [options]"}
    for command, text in _DESCRIPTIONS.items()
}


class HelpFormatter(DefaultHelpFormatter):
    """Leaves out the list of known subclasses where they are too many to read, as those of torch.nn.Module are."""

    MOST = 30

    def _get_help_string(self, action: argparse.Action) -> str:
        def short(match: re.Match[str]) -> str:
            return match[0] if match[0].count(",") <= self.MOST else ""

        return re.sub(r", known subclasses: [^()]*", short, super()._get_help_string(action))


class Parser(ModelClassParser):
    """Leaves it to the CLI to say what is wrong."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # An abbreviation is more often a misspelling: --trainer.max_epoch would pass for max_epochs.
        super().__init__(*args, allow_abbrev=False, formatter_class=HelpFormatter, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> Any:
        """Raise the message; CLI.parse_arguments puts it in plain words."""
        raise ArgumentMessage(message) from ex


class ArgumentMessage(ValueError):
    """What jsonargparse says of a command line."""


class TrainedAs(Exception):
    """A checkpoint was trained as another class, whose options the parser must have."""

    def __init__(self, model: type[ImageClassifier]) -> None:
        super().__init__(model)
        self.model = model


class CLI(LightningCLI):
    """``cifar-cnn fit | validate | test``."""

    model_class: type[ImageClassifier]

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Defaults, links and the callbacks of every run."""
        parser.add_lightning_class_args(BestCheckpoint, "checkpoint")
        parser.add_lightning_class_args(LastCheckpoint, "last_checkpoint")  # after the best, whose score it holds
        parser.add_lightning_class_args(NotFinite, "not_finite")
        parser.add_lightning_class_args(FilterImages, "filters")
        parser.add_argument(
            "--test_after_fit", type=bool, default=False, help="Test the best checkpoint at the end of fit."
        )
        parser.add_argument("--report", type=bool, default=True, help="Write report.html at the end of fit and test.")
        for option in ("test_after_fit", "report"):
            parser.link_arguments(option, f"trainer.{option}")
        parser.set_defaults({"data.source": {"class_path": "cifar_cnn.data.sources.CIFAR10"}})
        parser.link_arguments("data.num_classes", "model.num_classes", apply_on="instantiate")

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The Trainer's methods that are commands, and their arguments that are not options."""
        skip = {
            "model",
            "train_dataloaders",
            "val_dataloaders",
            "dataloaders",
            "datamodule",
            "weights_only",
            "verbose",
        }
        return {command: set(skip) for command in commands.TRAINING}

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        model_class.set_class(parser, self.model_class)
        (ckpt_path,) = (action for action in parser._actions if action.dest == "ckpt_path")
        if subcommand == "fit":
            parser.add_argument("--name", type=str | None, help="Of the run, for its report and comparisons.")
            parser.link_arguments("name", "trainer.name")
        if subcommand == "test":
            parser.add_argument("--name", type=str | None, help="Of other test images: writes test_NAME.json.")
        ckpt_path.help = "best or last, of the newest run; a checkpoint; or the folder of a run, whose best is meant."
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse, with what the checkpoint in question was trained with as the defaults of model and data."""
        assert isinstance(args, list)
        self.command = [*shlex.split(commands.program(self.model_class)), *args]
        names_class = next(model_class.named(args), None) is not None
        args = model_class.without(args)
        self.checkpoint: Path | None = None
        command = next((arg for arg in args if arg in self.subcommands()), None)
        default = ["best"] if command in ("test", "validate") else []
        names = [*default, *option_values(args, "--ckpt_path")]
        given = {arg.split("=")[0] for arg in args}
        if command and names and not given & {"-h", "--help", "--print_config"}:
            root = Path([".", *option_values(args, "--trainer.default_root_dir")][-1], RUNS)
            self.checkpoint = processes.checkpoint_of_the_starter() or find_checkpoint(names[-1], root)
            if command == "fit":
                self.checkpoint, self.content = read_to_resume(self.checkpoint)
            else:
                self.content = read_checkpoint(self.checkpoint)
            trust.restrict_to(self.content)
            processes.pass_on(self.checkpoint)
            kept_code.compare(self.checkpoint, self.content)
            trained_class = trained_as.classifier_class(self.content)
            if not names_class and self.model_class is ImageClassifier and trained_class is not ImageClassifier:
                raise TrainedAs(trained_class)
            if command == "fit":
                check_class(Checkpoint(self.checkpoint, self.content), self.model_class)
            else:
                trained_as.fit_to(self.model_class, self.content)
            try:
                trust.check(self.model_class, self.content["hyper_parameters"])
                trust.check(CIFAR10DataModule, self.content["datamodule_hyper_parameters"])
                self._subcommand_parsers[command].set_defaults(_trained_with(self.content))
            except Exception as error:  # jsonargparse's, for what is not allowed, not there, or no option
                raise InputError(
                    f"{self.checkpoint} was trained with what cannot be used here: {trust.reason(error)}"
                ) from error
            run = run_of(self.checkpoint)
            if command != "fit" and (precision := self.content.get("precision")):
                self._subcommand_parsers[command].set_defaults({"trainer.precision": precision})  # as it was trained
            if command == "fit" and run is not None and not given & {"-c", "--config"}:
                args = [command, "--config", str(run / "config.yaml"), *args[args.index(command) + 1 :]]
        known = self._subcommand_parsers.get(command or "fit", parser)
        class_options.check_chosen(args, known.get_default)
        arranged = class_options.forward_arguments(class_options.classes_first(args), known.get_default)
        try:
            with compat.discarding_init_args(class_options.start_from_own_defaults):
                super().parse_arguments(parser, arranged)
        except ArgumentMessage as error:
            hidden = ("help", "model.num_classes")  # the latter is the data's
            options = [action.dest for action in known._actions if not action.dest.endswith(hidden)]
            options += class_options.options_of_chosen(args, known.get_default)
            raise InputError(explain(str(error), options, args)) from error
        seed = self.config.get(command or "", {}).get("seed_everything")
        if seed is not None and seed is not False and not 0 <= int(seed) < 2**32:
            raise InputError(f"seed_everything is from 0 to {2**32 - 1:,}, not {seed}")

    def _parse_ckpt_path(self) -> None:
        # Lightning's own would let the checkpoint's values beat the command line's; parse_arguments has used them.
        pass

    def before_instantiate_classes(self) -> None:
        """Keep the checkpoint out of the saved config, which says how to train, not what from; put the precision in.

        Raises:
            InputError: a config names a checkpoint.
        """
        config = self.config[self.subcommand]
        if config["ckpt_path"] is not None and not option_values(self.command, "--ckpt_path"):
            raise InputError("a config's ckpt_path is not used: give the checkpoint as the option --ckpt_path")
        config["ckpt_path"] = None
        source = config["data"]["source"]
        arguments = source.get("init_args") if self.checkpoint and self.subcommand != "fit" else None
        if arguments is not None and "class_names" in arguments and arguments["class_names"] is None:
            # In the order of the network's outputs, and needing no training images to know them.
            arguments["class_names"] = self.content[CIFAR10DataModule.__qualname__]["class_names"]
        if config["seed_everything"] is False:
            os.environ.pop("PL_GLOBAL_SEED", None)  # which would be taken for the seed of the run
        # Chosen here for this machine; on another one the config repeats the run all the same.
        if config["trainer"]["precision"] is None and not config["trainer"]["plugins"]:
            config["trainer"]["precision"] = best_precision(str(config["trainer"]["accelerator"]))

    def instantiate_classes(self) -> None:
        """Instantiate, and refuse before anything is written a checkpoint that this run cannot go on from."""
        trust.check_functions(self.config[self.subcommand])
        for option, part, arguments in library_errors.chosen_parts(self.config[self.subcommand].as_dict()):
            class_options.check_required(option, part, arguments)
        if self.checkpoint and self.subcommand == "fit":
            check_resumed(self.config["fit"])
            self._dump_config()
            check_same(Checkpoint(self.checkpoint, self.content), self.config_dump["model"])
        try:
            if self.subcommand == "fit" and not self.checkpoint:
                self._tune()
            super().instantiate_classes()
        except Exception as error:  # jsonargparse wraps what a class says of its arguments
            for cause in _causes(error):
                if isinstance(cause, InputError):
                    raise cause from error
                if isinstance(cause, ModuleNotFoundError):
                    raise InputError(f"a package is not installed: {cause}") from error
                if isinstance(cause, TypeError) and is_raised_in(cause, "jsonargparse"):  # by the call of the class
                    raise InputError(str(cause)) from error
                if is_raised_in(cause, "lightning"):
                    raise InputError(f"trainer: {' '.join(str(cause).split())}") from error
            if self.checkpoint is None:
                if line := library_errors.reason(error, self.config[self.subcommand].as_dict()):
                    raise InputError(line) from error
                raise  # the traceback of the user's own class
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise InputError(f"{self.checkpoint} was trained with what cannot be made here: {reason}") from error

    def _tune(self) -> None:
        def instantiate(config: Namespace) -> Namespace:
            return self.parser.instantiate_classes(Namespace(subcommand="fit", fit=config))["fit"]

        if tune(self.config["fit"], instantiate):
            del self.config_dump  # the hyper-parameters of checkpoints, which a search has asked for already

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """The trainer, with what only the command line knows."""
        config = self._get(self.config_init, "trainer")
        given = config["callbacks"] or []
        given = [given] if isinstance(given, pl.Callback) else given
        check_given(given, self.model)
        files = self._result_files()
        config["callbacks"] = [
            *given,
            *(RunSummary(files), StorePredictions(files), TensorBoardPages(files), RunRecord(self.command)),
            OwnCode([self.config[self.subcommand].as_dict(), class_path(type(self.model))]),
        ]
        if self.subcommand != "fit":
            self.save_config_callback = None
            config["logger"] = config["logger"] or False
        try:
            return super().instantiate_trainer(**kwargs)
        except (TypeError, ValueError, MisconfigurationException) as error:  # for options that Lightning cannot meet
            if isinstance(error, TypeError) and not is_raised_in(error, "lightning"):
                raise  # the traceback of the user's own class
            raise InputError(f"trainer: {error}") from error

    def _result_files(self) -> ResultFiles:
        if self.subcommand != "test":
            return ResultFiles()
        config = self.config[self.subcommand]
        trained = self.content["datamodule_hyper_parameters"].get("source") if self.checkpoint else None
        other = is_other_source(self.datamodule.source, config["data"]["source"].as_dict(), trained)
        return ResultFiles(config["name"], other)

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        arguments = super()._prepare_subcommand_kwargs(subcommand)
        checkpoint = Checkpoint(self.checkpoint, self.content) if self.checkpoint else None
        path = checkpoint if subcommand == "fit" or checkpoint is None else checkpoint.path
        return {**arguments, "ckpt_path": path, "weights_only": True}


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _trained_with(content: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint's model and data were made of, as options of the command line."""
    groups = {"model": content["hyper_parameters"], "data": content["datamodule_hyper_parameters"]}
    return {
        f"{group}.{name}": value
        for group, values in groups.items()
        for name, value in values.items()
        if name != "num_classes"
    }


def _command(args: list[str], cli: type[CLI] = CLI, model: type[ImageClassifier] = ImageClassifier) -> None:
    cli(
        model_class.chosen(args, model),
        CIFAR10DataModule,
        trainer_class=Trainer,
        parser_class=Parser,
        parser_kwargs={"prog": "cifar-cnn", **_PARSERS},
        save_config_callback=SaveConfig,
        seed_everything_default=0,
        trainer_defaults={"num_sanity_val_steps": 0, "max_epochs": 10, "enable_model_summary": False},
        auto_configure_optimizers=False,
        args=args,
    )


def check_options(args: list[str]) -> None:
    """Look through the options and configs of a command line, and run nothing.

    Raises:
        InputError: the command would refuse them.
    """
    check_configs(option_values(args, "-c", "--config"))
    with suppress(SystemExit), redirect_stdout(io.StringIO()), trust.import_policy(trust.packages_of_options(args)):
        _command([*args, "--print_config"])


def run(args: list[str], cli: type[CLI] = CLI, model: type[ImageClassifier] = ImageClassifier) -> int:
    """Run a command line; returns the exit status, 2 for what the user has to mend.

    Args:
        args: the command and its options.
        cli: another class runs the commands of Lightning's Trainer in a way of its own.
        model: another class has a training step or optimizers of its own, and may have further arguments.
    """
    use_all_of_the_hardware()
    try:
        check_configs(option_values(args, "-c", "--config"))
        # While it trains, StopOnSignal takes it; the other processes are ended by the first.
        ends = [] if commands.local_rank() else [signal.SIGTERM]
        named = trust.packages_of_options(args)
        with terminable(*ends), plain_output(), trust.import_policy(named), kept_code.forgetting():
            if args and args[0] in commands.ANALYSES:
                commands.check_that_own_class_is_trained(args, model)
                options = command_arguments.parse(args)
                return importlib.import_module(f"cifar_cnn.cli.commands.{args[0]}").run(options)
            try:
                _command(args, cli, model)
            except TrainedAs as trained:
                _command(args, cli, trained.model)
            if wrong := processes.end_together():
                raise Stopped(wrong, in_all=False)
            return 0
    except (InputError, MisconfigurationException) as error:
        settings = "".join(f" --{key}" for key in getattr(error, "options", ()))
        processes.tell(
            f"cifar-cnn: error: {' '.join(str(error).split())}{f' (options:{settings})' if settings else ''}"
        )
        return 2
    except Stopped as stopped:
        if stopped.in_all and not processes.speaks():
            return 0  # at another status Lightning would kill process 0, which may have to write yet
        processes.tell(f"\ncifar-cnn: {stopped}", processes.SECONDS_TO_END if stopped.in_all else 0)
        return stopped.status
    except KeyboardInterrupt as interrupt:
        what, status = interruption(interrupt)
        if processes.speaks():
            processes.tell(f"\ncifar-cnn: {what}")
        return status
    except Exception as error:
        raise with_own_frames(error)  # noqa: B904  (it is the same one)
    finally:
        processes.disconnect()

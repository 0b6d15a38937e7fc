"""The command line: LightningCLI with the defaults, links and error messages of this project."""

import argparse
import importlib
import io
import logging
import os
import re
import shlex
import shutil
import signal
import threading
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from jsonargparse import DefaultHelpFormatter, Namespace
from lightning.fabric.utilities.spike import TrainingSpikeException
from lightning.pytorch.callbacks import Checkpoint, ProgressBar, WeightAveraging
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException

import cifar_cnn.backbones
import cifar_cnn.losses
import cifar_cnn.optim  # noqa: F401  (imported so that the command line knows the classes by their short names)
from cifar_cnn import class_options, commands, compat, kept_code, library_errors, processes, trained_as, trust
from cifar_cnn.callbacks.checkpoint import (
    BestCheckpoint,
    LastCheckpoint,
    best_checkpoint,
    how_to_go_on,
    last_checkpoint,
)
from cifar_cnn.callbacks.epoch_lines import EpochLines
from cifar_cnn.callbacks.filter_images import FilterImages
from cifar_cnn.callbacks.given import check_given, is_exact
from cifar_cnn.callbacks.mid_epoch import MidEpoch
from cifar_cnn.callbacks.not_finite import NotFinite
from cifar_cnn.callbacks.own_code import OwnCode
from cifar_cnn.callbacks.predictions import StorePredictions
from cifar_cnn.callbacks.progress import TimedProgressBar
from cifar_cnn.callbacks.resumed import Resumed
from cifar_cnn.callbacks.rng_state import RNGState
from cifar_cnn.callbacks.run_record import RunRecord
from cifar_cnn.callbacks.save_config import SaveConfig
from cifar_cnn.callbacks.signals import StopOnSignal
from cifar_cnn.callbacks.summary import RunSummary, of_some_images, why_not_validated
from cifar_cnn.callbacks.tensorboard import TensorBoardPages
from cifar_cnn.callbacks.validate_at_end import ValidateAtEnd
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.cli_errors import check_configs, explain, option_values
from cifar_cnn.data import CIFAR10DataModule
from cifar_cnn.errors import InputError, Stopped, Terminated, terminable
from cifar_cnn.hardware import best_precision, use_all_of_the_hardware
from cifar_cnn.loggers import RunCSVLogger, RunTensorBoardLogger
from cifar_cnn.loops import images_evaluated
from cifar_cnn.network_check import check_network
from cifar_cnn.recording import RecordingParser
from cifar_cnn.runs.checkpoints import read_checkpoint, read_to_go_on
from cifar_cnn.runs.folders import RUNS, find_checkpoint, new_run_folder, run_of
from cifar_cnn.runs.results import ResultFiles, is_other_source
from cifar_cnn.tracebacks import with_own_frames
from cifar_cnn.trainer import Trainer
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


class Parser(RecordingParser, LightningArgumentParser):
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
        (ckpt_path,) = (action for action in parser._actions if action.dest == "ckpt_path")
        if subcommand == "test":
            parser.add_argument("--name", type=str | None, help="Of other test images: writes test_NAME.json.")
        ckpt_path.help = "best or last, of the newest run; a checkpoint; or the folder of a run, whose best is meant."
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse, with what the checkpoint in question was trained with as the defaults of model and data."""
        assert isinstance(args, list)
        self.command = [*shlex.split(commands.program(self.model_class)), *args]
        self.checkpoint: Path | None = None
        self.new_folder: Path | None = None
        self.first_step = 0  # that this fit logs
        command = next((arg for arg in args if arg in self.subcommands()), None)
        default = ["best"] if command in ("test", "validate") else []
        names = [*default, *option_values(args, "--ckpt_path")]
        given = {arg.split("=")[0] for arg in args}
        if command and names and not given & {"-h", "--help", "--print_config"}:
            root = Path([".", *option_values(args, "--trainer.default_root_dir")][-1], RUNS)
            self.checkpoint = processes.checkpoint_of_the_starter() or find_checkpoint(names[-1], root)
            if command == "fit":
                self.checkpoint, self.content = read_to_go_on(self.checkpoint)
                trained = str(self.content.get("model", trained_as.PLAIN)).rpartition(".")[2]
                if trained != (here := self.model_class.__name__):
                    raise InputError(
                        f"{self.checkpoint} was trained as {trained!r:.60} and cannot go on as {here!r}: give the "
                        "same command to the program that trained it"
                    )
            else:
                self.content = read_checkpoint(self.checkpoint)
            trust.restrict_to(self.content)
            processes.pass_on(self.checkpoint)
            kept_code.compare(self.checkpoint, self.content)
            if command != "fit":
                trained_class = trained_as.classifier_class(self.content)
                if self.model_class is ImageClassifier and trained_class is not ImageClassifier:
                    raise TrainedAs(trained_class)
                trained_as.fit_to(self.model_class, self.content)
            try:
                trust.check(self.model_class, self.content["hyper_parameters"])
                trust.check(CIFAR10DataModule, self.content["datamodule_hyper_parameters"])
                self._subcommand_parsers[command].set_defaults(_trained_with(self.content))
            except Exception as error:  # jsonargparse's, for what is not allowed, not there, or no option
                raise InputError(
                    f"{self.checkpoint} was trained with what cannot be used here: {trust.reason(error)}"
                ) from error
            self.first_step = self.content["first_step"]
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
            given = self.config_dump["model"]
            saved = self.content["hyper_parameters"]
            # The checkpoint's optimizer state holds its arguments too and would silently win over new ones.
            same = {name: saved.get(name) == given[name] for name in ("optimizer", "decay_bias_and_norm")}
            same["schedule"] = _class_path(saved, "schedule") == _class_path(given, "schedule")
            if changed := [name for name, unchanged in same.items() if not unchanged]:
                raise InputError(
                    f"{self.checkpoint} was trained with another model.{changed[0]} ({saved.get(changed[0])}): go on "
                    "with the same one, or start a new run without --ckpt_path"
                )
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
                if isinstance(cause, TypeError) and _is_raised_in(cause, "jsonargparse"):  # by the call of the class
                    raise InputError(str(cause)) from error
                if _is_raised_in(cause, "lightning"):
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
        """The trainer, with this project's callbacks and loggers beside those of the config."""
        config = self._get(self.config_init, "trainer")
        if self.subcommand == "fit" and commands.local_rank() == 0:
            check_network(self.model, self.datamodule, str(config["precision"]))
        files = self._result_files()
        self.summary = RunSummary(files)
        given = config["callbacks"] or []
        given = [given] if isinstance(given, pl.Callback) else given
        check_given(given, self.model)
        if self.checkpoint and self.subcommand == "fit":
            self.model.load_state_dict(self.content["state_dict"])  # here already, while its failure loses nothing
            for inexact in (type(each).__name__ for each in given if processes.speaks() and not is_exact(each)):
                log.warning("A run with %s does not resume exactly: an uninterrupted one ends differently.", inexact)
        callbacks = [
            *given,
            self.summary,
            ValidateAtEnd(),
            StorePredictions(files),
            RunRecord(self.command),
            StopOnSignal(),
            RNGState(),
            MidEpoch(),
            Resumed(),
            OwnCode([self.config[self.subcommand].as_dict(), self.model.import_path()]),
            TensorBoardPages(files),
        ]
        if config["enable_progress_bar"] is not False:
            callbacks.insert(0, EpochLines())  # before those that may stop the fit when an epoch is logged
            if not any(isinstance(callback, ProgressBar) for callback in callbacks):
                callbacks.append(TimedProgressBar())
        config["callbacks"] = callbacks
        if self.subcommand != "fit":
            self.save_config_callback = None
            config["logger"] = config["logger"] or False
        elif config["logger"] is not False and not config["fast_dev_run"]:
            config["logger"] = self._loggers(config)
        try:
            trainer = super().instantiate_trainer(**kwargs)
            processes.check_number(trainer)
        except (TypeError, ValueError, MisconfigurationException) as error:  # for options that Lightning cannot meet
            self._drop_new_folder()
            if isinstance(error, TypeError) and not _is_raised_in(error, "lightning"):
                raise  # the traceback of the user's own class
            raise InputError(f"trainer: {error}") from error
        processes.watch(trainer)
        return trainer

    def _result_files(self) -> ResultFiles:
        if self.subcommand != "test":
            return ResultFiles()
        config = self.config[self.subcommand]
        trained = self.content["datamodule_hyper_parameters"].get("source") if self.checkpoint else None
        other = is_other_source(self.datamodule.source, config["data"]["source"].as_dict(), trained)
        return ResultFiles(config["name"], other)

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[pl.Callback]) -> pl.Trainer:
        if config["logger"] is False or config["enable_checkpointing"] is False:
            # Without a run folder, checkpoints and config would lie in the current one and overwrite each other.
            config["enable_checkpointing"] = False
            callbacks = [callback for callback in callbacks if not isinstance(callback, Checkpoint)]
            if not config["logger"]:
                self.save_config_callback = None
        return super()._instantiate_trainer(config, callbacks)

    def _loggers(self, config: dict[str, Any]) -> list[Logger]:
        """TensorBoard and CSV on one run folder, unless the config names others."""
        given = [] if config["logger"] in (None, True) else config["logger"]
        given = list(given) if isinstance(given, (list, tuple)) else [given]
        if given and isinstance(given[0], (TensorBoardLogger, CSVLogger)):  # it has a folder, which the run then takes
            run = run_of(self.checkpoint) if self.checkpoint else None
            return [_in_folder(each, run, self.first_step) for each in given] if run else given
        folder = self._run_folder(Path(config["default_root_dir"] or ".", RUNS))
        kinds = (RunCSVLogger,) if given else (RunTensorBoardLogger, RunCSVLogger)
        return [*(kind(folder, self.first_step) for kind in kinds), *given]

    def _run_folder(self, root: Path) -> Path:
        run = run_of(self.checkpoint) if self.checkpoint else None
        if run is not None:
            return run
        if rank_zero_only.rank != 0:  # type: ignore[attr-defined]
            # It writes nothing; Lightning tells it the folder of process 0.
            return Path(root, "version_of_process_0")
        # As a run that goes on finds it: a ModelCheckpoint whose folder has another name forgets what it has kept.
        self.new_folder = new_run_folder(root).resolve()
        return self.new_folder

    def _run_subcommand(self, subcommand: str) -> None:
        try:
            with library_errors.loggers_in_one_line():
                super()._run_subcommand(subcommand)
        except (InputError, MisconfigurationException):
            self._drop_new_folder()
            raise
        except SystemExit as end:
            # Lightning's end of a Ctrl-C that StopOnSignal does not take: before the first step, or the second one.
            if not isinstance(end.__context__, KeyboardInterrupt):
                raise
            last = last_checkpoint(self.trainer)
            if last is None or last.path is None:
                self._drop_new_folder()
            then = f": {how_to_go_on(self.trainer)}" if subcommand == "fit" else ""
            what, status = _interruption(end.__context__)
            raise Stopped(f"{what}{then}", status, in_all=False) from end
        except OSError as error:  # a full disk, a folder that is gone or cannot be written
            if isinstance(error, BrokenPipeError) and subcommand != "fit":
                raise  # no error, see __main__.py
            where = error.filename or self.new_folder or (self.checkpoint and self.checkpoint.parent)
            where = where and min(str(where), os.path.relpath(where), key=len)
            reason = f"{where}: {error.strerror or error}" if where else str(error)
            last = last_checkpoint(self.trainer)
            if subcommand == "fit" and last is not None and last.path is not None and self.trainer.global_step:
                ended = f"ended at step {self.trainer.global_step}: {reason}"
                raise Stopped(f"{ended}; {how_to_go_on(self.trainer)}", in_all=False) from error
            self._drop_new_folder()
            raise InputError(f"{subcommand} cannot go on: {reason}") from error
        except (AttributeError, ImportError, RuntimeError, TypeError, ValueError, ZeroDivisionError) as error:
            if not processes.is_loss_of_a_process(error):
                if not _is_raised_in(error, "lightning"):
                    raise  # the traceback of the user's own class
                reason = str(error) or type(error).__name__
                if isinstance(error, TrainingSpikeException):  # SpikeDetection's end of a training
                    ended = f"ended at step {self.trainer.global_step}: {reason}"
                    raise Stopped(f"{ended}; {how_to_go_on(self.trainer)}", in_all=False) from error
                self._drop_new_folder()
                raise InputError(f"trainer: {reason}") from error
            then = how_to_go_on(self.trainer) if subcommand == "fit" else f"run  cifar-cnn {subcommand}  again"
            raise processes.loss_of_a_process(self.trainer, error, then) from error

    def _drop_new_folder(self) -> None:
        # A start that failed by the user's mistake leaves nothing; what has trained stays.
        trained = hasattr(self, "trainer") and self.trainer.global_step > 0
        if self.new_folder is not None and not trained:
            shutil.rmtree(self.new_folder, ignore_errors=True)
            with suppress(OSError):  # it holds other runs
                self.new_folder.parent.rmdir()

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        arguments = super()._prepare_subcommand_kwargs(subcommand)
        return {**arguments, "ckpt_path": self.checkpoint, "weights_only": True}

    def before_fit(self) -> None:
        """Say what takes its time before the first step."""
        self._say(f"Loading the images of {type(self.datamodule.source).__name__}")

    def after_fit(self) -> None:
        """Test if that was asked for, and print the summary."""
        best = best_checkpoint(self.trainer)
        path = best.best_model_path if best else ""
        if path and not self.trainer.strategy.broadcast(os.path.isfile(path)):
            log.warning("%s is gone: it is neither tested nor reported on.", os.path.relpath(path))
            path = ""
        failure: Exception | None = None
        if self._get(self.config, "test_after_fit") and path and self.trainer.limit_test_batches:
            # Of a checkpoint it would load the weights that training goes on from, not the averages that are tested.
            callbacks: list[pl.Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
            callbacks[:] = [each for each in callbacks if not isinstance(each, WeightAveraging)]
            try:
                self.trainer.test(self.model, self.datamodule, ckpt_path=path, weights_only=True, verbose=False)
                self.summary.print_test(self.trainer, self.model)
            except (InputError, OSError) as error:  # the test images are loaded only now
                failure = error
        self.summary.print_fit(self.trainer, self.model)
        if path:
            self._report(path)
        if failure is not None:
            raise InputError(f"all is trained and saved, but the test failed: {failure}") from failure

    def validate(self, **kwargs: Any) -> None:
        """Validate a checkpoint."""
        self._say(f"Validating {os.path.relpath(kwargs['ckpt_path'])}")
        if not self.trainer.validate(verbose=False, **kwargs):
            raise InputError(f"nothing to validate: {why_not_validated(self.trainer)}")
        metrics = self.trainer.callback_metrics
        some = of_some_images(*images_evaluated(self.trainer, "val"), "trainer.limit_val_batches")
        self._say(f"\nValidation  {metrics['val/accuracy']:.2%} accuracy{some}, loss {metrics['val/loss']:.4f}")

    def test(self, **kwargs: Any) -> None:
        """Test a checkpoint; the summary prints the figures."""
        if not self.trainer.limit_test_batches:
            raise InputError("nothing to test: trainer.limit_test_batches is 0")
        self._say(f"Testing {os.path.relpath(kwargs['ckpt_path'])}")
        self.trainer.test(verbose=False, **kwargs)
        self.summary.print_test(self.trainer, self.model)
        if self.summary.written is not None and self.summary.written.name == "test.json":  # which a report is about
            self._report(kwargs["ckpt_path"])

    def _report(self, checkpoint: str | Path) -> None:
        run = run_of(checkpoint)
        if self.trainer.is_global_zero and self._get(self.config, "report") and run is not None:
            from cifar_cnn.analysis import report  # matplotlib and Jinja2 come with it

            path = report.try_to_write_report(run, self.datamodule)
            if path is not None:
                print(f"{'Report':<11} {os.path.relpath(path)}")

    def _say(self, line: str) -> None:
        if self.trainer.is_global_zero:
            print(line)


def _is_raised_in(error: BaseException, package: str) -> bool:
    """Whether the code of a package has raised it; Lightning does, for options that it finds out about at work."""
    modules = [str(frame.f_globals.get("__name__", "")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(modules) and modules[-1].startswith(f"{package}.")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _in_folder(logger: Logger, run: Path, first_step: int) -> Logger:
    """A logger of the same kind on the folder of a run that goes on; its own would make a new one."""
    if isinstance(logger, CSVLogger):
        return RunCSVLogger(run, first_step)
    return RunTensorBoardLogger(run, first_step) if isinstance(logger, TensorBoardLogger) else logger


def _class_path(config: Mapping[str, Any], part: str) -> str | None:
    value = config.get(part)
    return value.get("class_path") if isinstance(value, Mapping) else value


def _trained_with(content: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint's model and data were made of, as options of the command line."""
    groups = {"model": content["hyper_parameters"], "data": content["datamodule_hyper_parameters"]}
    return {
        f"{group}.{name}": value
        for group, values in groups.items()
        for name, value in values.items()
        if name != "num_classes"
    }


# What the libraries say and the user can do nothing about.
_UNWANTED_WARNINGS = (
    r".*tensorboardX.*",
    r".*LeafSpec.*",
    r".*could be decompression bomb.*",  # what is one is refused
    r".*does not have many workers.*",
    r".*The number of training batches .* is smaller than the logging interval.*",
    r".*Experiment logs directory .* exists and is not empty.*",
    r".*Checkpoint directory .* exists and is not empty.*",
    r".*is not of type `DataLoader`.*",
    r".*Total length of `list` across ranks is zero.*",
    r".*is already saved during checkpointing.*",
    r".*callbacks used to create the checkpoint need to be provided.*",
    r".*args parameter is intended to run from within Python.*",
    r".*It is recommended to use `self.log\(.*sync_dist=True\)`.*",  # what is logged is of all processes already
)
_UNWANTED_LOGS = re.compile(
    r"Tip:|tensorboardX|litlogger|litmodels|limit_\w+_batches=1.0|TPU|to estimate number of|Seed set|"
    r"Restor(ing|ed) |Loaded model weights|stopped: `max_|Detected KeyboardInterrupt|Received SIGTERM|"
    r"`weights_only` was|LR finder stopped|Failed to compute sugg|Finished batch size|Reached the maximum batch size"
)


@contextmanager
def _plain_output() -> Iterator[None]:
    def wanted(record: logging.LogRecord) -> bool:
        return not _UNWANTED_LOGS.search(record.getMessage())

    names = (
        *("pytorch", "pytorch.utilities.rank_zero", "pytorch.trainer.connectors.signal_connector"),
        *("fabric.utilities.rank_zero", "fabric.utilities.seed", "fabric.utilities.cloud_io"),
        "pytorch.trainer.connectors.checkpoint_connector",
        *("pytorch.tuner.batch_size_scaling", "pytorch.tuner.lr_finder"),
    )
    loggers = [logging.getLogger(f"lightning.{name}") for name in names]
    launcher = logging.getLogger("lightning.fabric.strategies.launchers.subprocess_script")
    ours, handler = logging.getLogger("cifar_cnn"), logging.StreamHandler()
    ours.setLevel(logging.INFO)
    ours.addHandler(handler)
    for logger in loggers:
        logger.addFilter(wanted)
    excepthook = threading.excepthook

    def in_thread(args: threading.ExceptHookArgs) -> None:
        # TensorBoard's writer raises this anew in the main thread, where it becomes one warning.
        if not (type(args.thread).__module__.startswith("tensorboard.") and isinstance(args.exc_value, OSError)):
            excepthook(args)

    threading.excepthook = in_thread
    launcher.addFilter(processes.tell_plainly)
    with warnings.catch_warnings():
        for message in _UNWANTED_WARNINGS:
            warnings.filterwarnings("ignore", message)
        try:
            yield
        finally:
            threading.excepthook = excepthook
            ours.removeHandler(handler)
            for logger in loggers:
                logger.removeFilter(wanted)
            launcher.removeFilter(processes.tell_plainly)


def _command(args: list[str], cli: type[CLI] = CLI, model: type[ImageClassifier] = ImageClassifier) -> None:
    cli(
        model,
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
        with terminable(*ends), _plain_output(), trust.import_policy(named), kept_code.forgetting():
            if args and args[0] in commands.ANALYSES:
                commands.check_that_own_class_is_trained(args, model)
                return importlib.import_module(f"cifar_cnn.analysis.{args[0]}").main(args[1:])
            try:
                _command(args, cli, model)
            except TrainedAs as trained:
                _command(args, cli, trained.model)
            if wrong := processes.end_together():
                raise Stopped(wrong, in_all=False)
            return 0
    except (InputError, MisconfigurationException) as error:
        processes.tell(f"cifar-cnn: error: {' '.join(str(error).split())}")
        return 2
    except Stopped as stopped:
        if stopped.in_all and not processes.speaks():
            return 0  # at another status Lightning would kill process 0, which may have to write yet
        processes.tell(f"\ncifar-cnn: {stopped}", processes.SECONDS_TO_END if stopped.in_all else 0)
        return stopped.status
    except KeyboardInterrupt as interrupt:
        what, status = _interruption(interrupt)
        if processes.speaks():
            processes.tell(f"\ncifar-cnn: {what}")
        return status
    except Exception as error:
        raise with_own_frames(error)  # noqa: B904  (it is the same one)
    finally:
        processes.disconnect()


def _interruption(interrupt: KeyboardInterrupt) -> tuple[str, int]:
    if isinstance(interrupt, Terminated):
        return "ended by SIGTERM", 128 + signal.SIGTERM
    return "interrupted", 128 + signal.SIGINT

"""``cifar-cnn fit | validate | test``: LightningCLI with the defaults, links and error messages of this project."""

import shlex
from contextlib import ExitStack
from typing import Any

import lightning.pytorch as pl
import yaml
from jsonargparse import Namespace
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

import cifar_cnn.backbones
import cifar_cnn.losses
import cifar_cnn.optim  # noqa: F401  (imported so that the command line accepts the short names of the classes)
from cifar_cnn import compat
from cifar_cnn.base import packaged_configs, process
from cifar_cnn.base.errors import InputError
from cifar_cnn.callbacks.filter_images import FilterImages
from cifar_cnn.callbacks.save_config import SaveConfig
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.cli import checkpoint_option, class_options, config_values, foreign_run, further_tests, model_class
from cifar_cnn.cli.instantiate import check_parts, plain_errors_of_parts, plain_errors_of_trainer
from cifar_cnn.cli.plain_errors import explain
from cifar_cnn.cli.run_callbacks import result_files, run_callbacks
from cifar_cnn.data import CIFAR10DataModule
from cifar_cnn.resume.checkpoints import BestCheckpoint, LastCheckpoint
from cifar_cnn.resume.not_finite import NotFinite
from cifar_cnn.resume.resumable import check_same
from cifar_cnn.runs import trained_as
from cifar_cnn.runs.checkpoints import Checkpoint
from cifar_cnn.trainer import Trainer
from cifar_cnn.tuning import check_resumed, tune

_DESCRIPTIONS = {
    "fit": "Train a network; the results are written to a new folder lightning_logs/version_N.",
    "validate": "Print the accuracy of a checkpoint on the validation images.",
    "test": "Print the accuracy of a checkpoint on the test images.",
}
_NAMES = {
    "fit": "Name of the run, for its report and comparisons.",
    "test": "Name of images other than the run's test images, for test_NAME.json.",
}
_CKPT_PATH = "A checkpoint, a run folder for its best checkpoint, or best or last for those of the newest run."


class Parser(model_class.ModelClassParser):
    """Raise errors instead of printing the usage and exiting."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # An abbreviation is usually a typing error: --trainer.max_epoch would be accepted as max_epochs.
        super().__init__(*args, allow_abbrev=False, formatter_class=compat.ShortHelpFormatter, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> Any:
        """Raise ArgumentMessage, which CLI converts to a shorter message."""
        raise ArgumentMessage(message) from ex


class ArgumentMessage(ValueError):
    """An error message of jsonargparse about a command line."""


class CLI(LightningCLI):
    """Parse ``fit``, ``validate`` or ``test`` and create ``model``, ``datamodule`` and ``trainer``; see :meth:`start`.

    Args:
        command: ``fit``, ``validate`` or ``test``.
        options: the command line after the command.
        model: the class to train.
        checkpoint: the checkpoint to resume or test, from :func:`cifar_cnn.cli.checkpoint_option.read`.
    """

    model_class: type[ImageClassifier]

    def __init__(
        self, command: str, options: list[str], model: type[ImageClassifier], checkpoint: Checkpoint | None
    ) -> None:
        self.command, self.checkpoint = command, checkpoint
        self.command_line = [*shlex.split(process.program(model)), command, *options]
        super().__init__(
            model,
            CIFAR10DataModule,
            trainer_class=Trainer,
            parser_class=Parser,
            # argparse's default usage would be a page of options in square brackets.
            parser_kwargs={
                "prog": f"cifar-cnn {command}",
                "description": f"{_DESCRIPTIONS[command]} All options:",
                "usage": f"cifar-cnn {command} [options]",
            },
            save_config_callback=SaveConfig if command == "fit" else None,
            seed_everything_default=0,
            trainer_defaults={"num_sanity_val_steps": 0, "max_epochs": 10, "enable_model_summary": False},
            auto_configure_optimizers=False,
            run=False,  # no subcommands
            args=packaged_configs.with_paths(options),
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add defaults, links and the callbacks of every run."""
        model_class.set_class(parser, self.model_class)
        parser.add_lightning_class_args(BestCheckpoint, "checkpoint")
        parser.add_lightning_class_args(LastCheckpoint, "last_checkpoint")  # second, because it stores the best score
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
        parser.add_argument("--ckpt_path", type=str | None, help=_CKPT_PATH)
        if self.command in _NAMES:
            parser.add_argument("--name", type=str | None, help=_NAMES[self.command])
        if self.command == "fit":
            parser.link_arguments("name", "trainer.name")
        further_tests.add_options(parser, self.command)

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse the command line, with the checkpoint's settings as the defaults of model and data."""
        assert isinstance(args, list)
        args = model_class.without(args)
        config = foreign_run.own_config(args, self.command, self.checkpoint)
        self._images_are_read_only = foreign_run.decides_images(args, config, self.checkpoint)
        with ExitStack() as stack:
            if self.checkpoint:
                checkpoint_option.set_defaults(parser, self.command, self.checkpoint, self.model_class)
                args = stack.enter_context(foreign_run.with_own_config(args, config))
            self._parse(parser, args)

    def _parse(self, parser: LightningArgumentParser, args: list[str]) -> None:
        try:
            self.config = class_options.parse(parser, args, parser.get_default)
        except ArgumentMessage as error:
            options = class_options.all_options(parser, args)
            raise InputError(explain(error, options, self.command, args)) from error
        config_values.check_seed(self.config["seed_everything"])

    def before_instantiate_classes(self) -> None:
        """Fill in the values that depend on the checkpoint or the machine."""
        config_values.complete(self.config, self.command_line, None if self.command == "fit" else self.checkpoint)

    def instantiate_classes(self) -> None:
        """Instantiate; reject an incompatible checkpoint before writing any file."""
        check_parts(self.config)
        resumed = self.checkpoint if self.command == "fit" else None
        if resumed:
            check_resumed(self.config)
            check_same(resumed, self._recorded()["model"])
        with plain_errors_of_parts(self.config, self.checkpoint):
            self.config_dump = self._recorded()  # LightningCLI saves it in checkpoints
            self._pictures = tune(self.config, self._instantiated) if self.command == "fit" and not resumed else None
            if self._pictures:
                self.config_dump = self._recorded()
            super().instantiate_classes()
        self.datamodule.source.read_only = self._images_are_read_only

    def _recorded(self) -> dict[str, Any]:
        """The config as plain data, with the arguments of the model in the section ``model``."""
        config = yaml.safe_load(self.parser.dump(self.config, skip_link_targets=False, skip_none=False))
        return {**config, "model": trained_as.options(config["model"])}

    def _instantiated(self, config: Namespace) -> Namespace:
        return self.parser.instantiate_classes(config)

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Create the trainer with the callbacks that depend on the command line."""
        files = result_files(self.command, self.config, self.datamodule.source, self.checkpoint)
        trainer = self.config_init["trainer"]
        own = run_callbacks(trainer["callbacks"], self.model, self.config, files, self.command_line)
        trainer["callbacks"] = [*own, self._pictures] if self._pictures else own
        with plain_errors_of_trainer():
            return super().instantiate_trainer(**kwargs)

    def start(self) -> None:
        """Train, validate or test."""
        resumed = self.checkpoint if self.command == "fit" or self.checkpoint is None else self.checkpoint.path
        method = further_tests.method(self.trainer, self.command, self.config)
        method(self.model, datamodule=self.datamodule, ckpt_path=resumed, weights_only=True)

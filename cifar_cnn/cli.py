"""The command line: LightningCLI with the defaults, links and error messages of this project."""

import difflib
import logging
import os
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import Namespace
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

import cifar_cnn.backbones
import cifar_cnn.losses
import cifar_cnn.optim  # noqa: F401  (imported so that the command line knows the classes by their short names)
from cifar_cnn.callbacks.checkpoint import RunCheckpoint
from cifar_cnn.callbacks.filter_images import FilterImages
from cifar_cnn.callbacks.summary import RunSummary
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.data import CIFAR10DataModule
from cifar_cnn.errors import InputError
from cifar_cnn.runs import RUNS, find_checkpoint, new_run_folder, run_of
from cifar_cnn.trainer import Trainer


class Parser(LightningArgumentParser):
    """Says what is wrong in one line, with the nearest valid choices."""

    def error(self, message: str, ex: Exception | None = None) -> Any:
        """Raise the message as an InputError."""
        raise InputError(message) from ex


class CLI(LightningCLI):
    """``cifar-cnn fit | validate | test``."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Defaults, links and the callbacks of every run."""
        parser.add_lightning_class_args(RunCheckpoint, "checkpoint")
        parser.add_lightning_class_args(FilterImages, "filters")
        parser.add_argument(
            "--test_after_fit", type=bool, default=False, help="Test the best checkpoint at the end of fit."
        )
        parser.set_defaults({"data.source": {"class_path": "cifar_cnn.data.sources.CIFAR10"}})
        parser.link_arguments("data.num_classes", "model.num_classes", apply_on="instantiate")

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The Trainer's methods that are commands, and their arguments that are not options."""
        skip = {"model", "train_dataloaders", "val_dataloaders", "dataloaders", "datamodule", "weights_only", "verbose"}
        return {"fit": set(skip), "validate": set(skip), "test": set(skip)}

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse, with what the checkpoint in question was trained with as the defaults of model and data."""
        assert isinstance(args, list)
        self.checkpoint: Path | None = None
        command = next((arg for arg in args if arg in self.subcommands()), None)
        name = _option(args, "--ckpt_path") or ("best" if command in ("test", "validate") else None)
        wants_help = {"-h", "--help", "--print_config"} & {arg.split("=")[0] for arg in args}
        if command and name and not wants_help:
            root = Path(_option(args, "--trainer.default_root_dir") or ".", RUNS)
            self.checkpoint = find_checkpoint(name, root)
            trained_with = _hyper_parameters(self.checkpoint)
            self._subcommand_parsers[command].set_defaults(trained_with)
            run = run_of(self.checkpoint)
            if command == "fit" and run is not None and not {"-c", "--config"} & {arg.split("=")[0] for arg in args}:
                args = [command, "--config", str(run / "config.yaml"), *args[args.index(command) + 1 :]]
        super().parse_arguments(parser, args)

    def _parse_ckpt_path(self) -> None:
        # Lightning's own would let the checkpoint's values beat the command line's; parse_arguments has used them.
        pass

    def before_instantiate_classes(self) -> None:
        """Keep the checkpoint out of the saved config: a config says how to train, not what from."""
        self.config[self.subcommand]["ckpt_path"] = None

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer, with TensorBoard and CSV loggers on one run folder unless the config names others."""
        config = self._get(self.config_init, "trainer")
        self.summary = RunSummary()
        config["callbacks"] = [*(config["callbacks"] or []), self.summary]
        if self.subcommand != "fit":
            self.save_config_callback = None
            config["logger"] = config["logger"] or False
        elif config["logger"] in (None, True) and not config["fast_dev_run"]:
            folder = self._run_folder(Path(config["default_root_dir"] or ".", RUNS))
            place = {"save_dir": str(folder.parent), "name": "", "version": folder.name}
            config["logger"] = [TensorBoardLogger(**place), CSVLogger(**place)]
        return super().instantiate_trainer(**kwargs)

    def _run_folder(self, root: Path) -> Path:
        run = run_of(self.checkpoint) if self.checkpoint else None
        if run is not None:
            return run
        # Processes that Lightning starts for further devices run this same line and must come to the same folder.
        if "CIFAR_CNN_RUN" not in os.environ or int(os.environ.get("LOCAL_RANK", 0)) == 0:
            os.environ["CIFAR_CNN_RUN"] = str(new_run_folder(root))
        return Path(os.environ["CIFAR_CNN_RUN"])

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        arguments = super()._prepare_subcommand_kwargs(subcommand)
        return {**arguments, "ckpt_path": self.checkpoint, "weights_only": True}

    def after_fit(self) -> None:
        """Test if that was asked for, and print the summary."""
        best = getattr(self.trainer.checkpoint_callback, "best_model_path", None)
        test = bool(self._get(self.config, "test_after_fit") and best)
        if test:
            fitted = dict(self.trainer.callback_metrics)
            self.trainer.test(self.model, self.datamodule, ckpt_path=best, weights_only=True, verbose=False)
            self.summary.print_test(self.trainer, self.model)
            self.trainer.callback_metrics.update({**fitted, **self.trainer.callback_metrics})
        self.summary.print_fit(self.trainer, self.model, test)

    def test(self, **kwargs: Any) -> None:
        """Test a checkpoint; the summary prints the figures."""
        print(f"Testing {os.path.relpath(kwargs['ckpt_path'])}")
        self.trainer.test(verbose=False, **kwargs)
        self.summary.print_test(self.trainer, self.model)


def _option(args: list[str], name: str) -> str | None:
    """The last value that ``args`` gives ``name``, as ``--name value`` or ``--name=value``."""
    values = [value for arg, value in zip(args, args[1:], strict=False) if arg == name]
    values += [arg.split("=", 1)[1] for arg in args if arg.startswith(name + "=")]
    return values[-1] if values else None


def _hyper_parameters(checkpoint: Path) -> dict[str, Any]:
    """What a checkpoint's model and data were made of, as options of the command line.

    Raises:
        InputError: it is no checkpoint, a damaged one, or one with anything but plain data and tensors in it.
    """
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        groups = {"model": content["hyper_parameters"], "data": content["datamodule_hyper_parameters"]}
    except Exception as error:
        raise InputError(
            f"{checkpoint} is not a checkpoint of this project, or is damaged ({type(error).__name__}); nothing in it "
            "was run"
        ) from error
    return {
        f"{group}.{name}": value
        for group, values in groups.items()
        for name, value in values.items()
        if name not in ("_instantiator", "num_classes")
    }


def _quiet() -> None:
    """Keep back what the libraries say and the user can do nothing about."""
    for message in (
        r".*tensorboardX.*",
        r".*LeafSpec.*",
        r".*does not have many workers.*",
        r".*The number of training batches .* is smaller than the logging interval.*",
        r".*Experiment logs directory .* exists and is not empty.*",
        r".*Checkpoint directory .* exists and is not empty.*",
        r".*`isinstance\(treespec, LeafSpec\)`.*",
        r".*is not of type `DataLoader`.*",
    ):
        warnings.filterwarnings("ignore", message)
    unwanted = re.compile(r"Tip:|tensorboardX|litlogger|litmodels|limit_\w+_batches=1.0|Restor|Loaded model weights|💡")
    for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logging.getLogger(name).addFilter(lambda record: not unwanted.search(record.getMessage()))
    ours = logging.getLogger("cifar_cnn")
    ours.setLevel(logging.INFO)
    ours.addHandler(logging.StreamHandler())


def run(args: list[str]) -> int:
    """Run a command line; returns the exit status, 2 for what the user has to mend."""
    _quiet()
    try:
        CLI(
            ImageClassifier,
            CIFAR10DataModule,
            trainer_class=Trainer,
            parser_class=Parser,
            parser_kwargs={"prog": "cifar-cnn"},
            save_config_kwargs={"overwrite": True},
            seed_everything_default=0,
            trainer_defaults={"num_sanity_val_steps": 0, "max_epochs": 10},
            auto_configure_optimizers=False,
            args=args,
        )
    except InputError as error:
        print(f"cifar-cnn: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0

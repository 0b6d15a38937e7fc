"""``cifar-cnn compare``: compare runs, or train configs and compare them."""

import sys
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cifar_cnn.analysis.compare import Settings, compare, margin_of, plan, run_or_config
from cifar_cnn.analysis.compare.carrying_out import Engine
from cifar_cnn.analysis.compare.cluster import Cluster
from cifar_cnn.analysis.compare.local import Processes, check_memory_for
from cifar_cnn.base import packaged_configs
from cifar_cnn.base.errors import InputError
from cifar_cnn.cli.commands.show import data_of
from cifar_cnn.cli.compare_arguments import split_executor
from cifar_cnn.cli.configs import option_values
from cifar_cnn.cli.main import check_options
from cifar_cnn.data import Source
from cifar_cnn.runs.folders import RUNS

DEFAULT_EPOCHS = 10  # of `cifar-cnn fit`
_QUIET = ["--trainer.enable_progress_bar", "false"]


def run(options: Namespace) -> int:
    """Train, test and compare; return the exit status, 1 if any run failed.

    Raises:
        InputError: an argument is neither a run nor a config, or no run has a result.
    """
    seeds = options.seeds if options.seeds is not None else 1 if options.folds else 3
    if seeds < 1:
        raise InputError("--seeds must be 1 or more")
    if options.folds is not None and options.folds < 2:
        raise InputError("--folds must be 2 or more")
    folds = options.folds or 0
    fit_options, parameters = split_executor(options.fit_options)
    items = [run_or_config(name) for name in options.items]
    fits = FitCommands(fit_options, folds)
    _check_given_twice(options, items, fits)
    _check(items, fits)
    engine = _engine(options, parameters, items, fits)
    settings = Settings(seeds, folds, margin_of(options.margin), options.ensemble, options.command_line)
    identity = plan.identity(items, seeds, fit_options, folds)
    folder = plan.plan_folder(identity, Path(RUNS), options.output)
    try:
        failures = compare(items, folder, fits, engine, settings)
    except KeyboardInterrupt:
        if options.executor in (None, "local"):
            print(f"\nInterrupted; repeat the command to resume {folder}", file=sys.stderr)
        else:
            print(f"\nInterrupted; the jobs continue. Repeat the command to wait for them: {folder}", file=sys.stderr)
        return 130
    return 1 if failures else 0


def _engine(options: Namespace, parameters: dict[str, Any], items: list[Path], fits: "FitCommands") -> Engine:
    """Choose what starts the trainings: processes on this machine, or an executor of submitit."""
    if options.executor is None:
        if parameters:
            raise InputError(f"--executor.{next(iter(parameters))} needs --executor, such as --executor slurm")
        check_memory_for(options.jobs, map(fits.source, filter(Path.is_file, items)))
        return Processes(options.jobs)
    if options.jobs != 1:
        limit = "--executor.slurm_array_parallelism limits the number of jobs at a time"
        raise InputError(f"give either --jobs or --executor; {limit}")
    return Cluster(options.executor, parameters)


def _check_given_twice(options: Namespace, items: list[Path], fits: "FitCommands") -> None:
    """Check that no option contradicts another one or has no effect."""
    if not any(map(Path.is_file, items)):
        if given := next((name for name in ("seeds", "folds") if getattr(options, name)), None):
            raise InputError(f"--{given} applies to configs, but only runs were given")
    elif options.folds:
        names = [f"--data.{name}" for name in ("val_size", "val_indices", "fold", "folds")]
        if given := next((name for name in names if {*option_values(fits.options, name)} - {"null"}), None):
            raise InputError(f"{given} and --folds both choose the validation images: give one of them")


def _check(items: list[Path], fits: "FitCommands") -> None:
    """Check the arguments before any training."""
    fit_options = fits.options
    configs = [item for item in items if item.is_file()]
    names = [*(config.stem for config in configs), *map(str, items)]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"given twice: {', '.join(sorted(twice))}")
    if fit_options and not configs:
        raise InputError(f"{fit_options[0]} applies to configs, but only runs were given")
    if any(option.partition("=")[0] == "--trainer.limit_test_batches" for option in fit_options):
        raise InputError("runs are compared on all test images: remove --trainer.limit_test_batches")
    for config in configs:
        try:
            check_options(["fit", "--config", str(config), *fit_options, *fits.of_fold(0)])
        except InputError as error:
            where = f"{config} with these options" if fit_options else f"{config}"
            raise InputError(f"{where}: {error}") from error


@dataclass(frozen=True)
class FitCommands:
    """Command lines of ``cifar-cnn`` for training and testing.

    Attributes:
        options: options of each fit.
        folds: number of folds of a cross-validation; 0 without one.
    """

    options: list[str]
    folds: int = 0

    def of_fold(self, fold: int | None) -> list[str]:
        """The options that validate on a fold; none without a cross-validation."""
        if fold is None or not self.folds:
            return []
        return ["--data.val_size", "null", "--data.fold", str(fold), "--data.folds", str(self.folds)]

    def fit(self, config: Path, seed: int, folder: Path, fold: int | None = None) -> list[str]:
        """Train a config with a seed in ``folder``; test it on all test images, regardless of the config."""
        where = ["--seed_everything", str(seed), "--trainer.default_root_dir", str(folder)]
        test = ["--test_after_fit", "true", "--trainer.limit_test_batches", "1.0"]
        options = [*self.options, *self.of_fold(fold)]
        return ["fit", "--config", packaged_configs.with_name(config), *options, *where, *test, *_QUIET]

    def resume(self, checkpoint: Path) -> list[str]:
        """Resume the run of a checkpoint; the other options come from the run's config.yaml."""
        return ["fit", "--ckpt_path", str(checkpoint), *_QUIET]

    def test(self, run: Path) -> list[str]:
        """Test the best checkpoint of a run."""
        return ["test", "--ckpt_path", str(run), *_QUIET]

    def epochs(self, config: Path) -> int:
        """The number of epochs of a config; the default if the value is invalid, which the fit will report."""
        given = option_values(self.options, "--trainer.max_epochs")
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
        in_config = (content.get("trainer") or {}).get("max_epochs") if isinstance(content, dict) else None
        try:
            return max(1, int(given[-1] if given else in_config or DEFAULT_EPOCHS))
        except (TypeError, ValueError):
            return DEFAULT_EPOCHS

    def source(self, config: Path) -> Source | None:
        """The source of the images of a config; None if it cannot be created, which the fit will report."""
        try:
            return data_of([str(config)], self.options).source
        except Exception:  # including errors of the user's own classes
            return None

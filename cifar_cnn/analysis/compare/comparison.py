"""Train and test the runs of a comparison, and compare their results."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from cifar_cnn.analysis.compare import plan
from cifar_cnn.analysis.compare.carrying_out import Engine, carry_out
from cifar_cnn.analysis.compare.compared import Compared
from cifar_cnn.analysis.compare.networks import group
from cifar_cnn.analysis.compare.page import page
from cifar_cnn.analysis.compare.results import read_run
from cifar_cnn.analysis.compare.writing import print_and_write
from cifar_cnn.analysis.pages import framed
from cifar_cnn.analysis.run import load_run
from cifar_cnn.analysis.statistics import MARGIN
from cifar_cnn.base import packaged_configs
from cifar_cnn.base.errors import InputError
from cifar_cnn.base.paths import relative
from cifar_cnn.runs.folders import BEST, check_links, run_of


def run_or_config(name: str) -> Path:
    """Find the config file or the folder of a run with this name.

    Raises:
        InputError: neither exists.
    """
    path = packaged_configs.find(name) or Path(name)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return path
    run = path if path.is_dir() else run_of(path) if path.is_file() else None
    if run is None or not (run / "config.yaml").is_file() or not (run / "checkpoints" / BEST).is_file():
        raise InputError(
            f"{name} is neither a config (.yaml, or a name from `cifar-cnn configs`) nor the folder of a run with "
            "a checkpoint best.ckpt"
        )
    check_links(run)
    return Path(relative(run))


@dataclass(frozen=True)
class Settings:
    """What to compare and how to show it.

    Attributes:
        seeds: number of seeds to train each config with.
        folds: number of folds to train each config on with each seed (cross-validation); 0 for a single training.
        margin: networks whose accuracies differ by less than this count as equivalent; from 0 to 1.
        ensemble: whether to add the ensemble of all runs.
        command_line: the command line, which is recorded with the results.
    """

    seeds: int = 3
    folds: int = 0
    margin: float = MARGIN
    ensemble: bool = False
    command_line: str = ""


def compare(
    items: list[Path], folder: Path, fits: plan.Fits, engine: Engine, settings: Settings = Settings()
) -> dict[str, str]:
    """Compare runs, and configs that are trained first; print and write the results.

    Args:
        items: from :func:`run_or_config`.
        folder: folder for the results and the runs, from :func:`cifar_cnn.analysis.compare.plan.plan_folder`.
        fits: the commands that train and test.
        engine: starts the trainings and tests, one or several at a time.
        settings: what to compare and how to show it.

    Returns:
        The reason for each failed task, by the name of the task. All other runs are compared.

    Raises:
        InputError: no run has a result, or another process is using ``folder``.
    """
    try:
        with FileLock(folder / ".lock", timeout=0):
            return _compare(items, folder, fits, engine, settings)
    except Timeout:
        raise InputError(f"another process is working on this comparison, in {folder}") from None


def _compare(items: list[Path], folder: Path, fits: plan.Fits, engine: Engine, settings: Settings) -> dict[str, str]:
    tasks = [(item, task) for item in items for task in tasks_of(item, folder, fits, settings)]
    if not all(task.is_done() for _, task in tasks):
        carry_out([task for _, task in tasks], engine, folder)
    failures = {task.name: task.failure for _, task in tasks if task.failure}
    runs = [(item, run) for item, task in tasks if not task.failure and (run := task.run()) is not None]
    if not runs:
        raise InputError(f"no run has a result: {'; '.join(failures.values())}")
    configs = {item.stem for item in items if item.is_file()}
    networks = group([(item, read_run(run)) for item, run in runs], configs)
    print_and_write(folder, Compared(settings.command_line, networks, failures, settings.margin, settings.ensemble))
    for name, reason in failures.items():
        print(f"cifar-cnn: {name} failed: {reason}", file=sys.stderr)
    return failures


class Comparison(Compared):
    """A comparison in Python; Jupyter displays it as the page that ``cifar-cnn compare`` writes.

    Example::

        comparison = compare_runs(["lightning_logs/version_0", "lightning_logs/version_1"])
        comparison.rows                        # a dict for each network: name, n, test_accuracy_mean, parameters, ...
        for a, b, difference in comparison.pairs:
            print(a.name, b.name, difference.mean, difference.seeds_interval, difference.p)
    """

    def __repr__(self) -> str:
        return "\n\n".join(self.texts)

    def _repr_html_(self) -> str:
        return framed(page(self), "Comparison")


def compare_runs(runs: Sequence[str | os.PathLike], *, margin: float = 0.5, ensemble: bool = False) -> Comparison:
    """Compare trained runs; those that have not been tested are tested first.

    Runs that differ only in their seed form one network. Unlike the command, this function does not write a folder with
    tables and plots.

    Args:
        runs: folders of the runs.
        margin: networks whose accuracies differ by less than this many percentage points count as equivalent.
        ensemble: whether to add the ensemble of all runs, the mean of their probabilities.

    Raises:
        InputError: a run does not exist or cannot be tested, or ``margin`` is not positive.
    """
    folders = [run_or_config(os.fspath(run)) for run in runs]
    if config := next((folder for folder in folders if folder.is_file()), None):
        raise InputError(f"{config} is a config: train it first, or compare configs with the command")
    if not folders:
        raise InputError("give one or more folders of runs")
    for folder in folders:
        load_run(folder).test()
    networks = group([(folder, read_run(folder)) for folder in folders], set())
    return Comparison("", networks, {}, margin_of(margin), ensemble)


def margin_of(points: float) -> float:
    """Convert a margin of equivalence from percentage points to a difference of accuracies.

    Raises:
        InputError: it is not between 0 and 100.
    """
    if not 0 < points < 100:
        raise InputError(f"margin must be between 0 and 100 percentage points, not {points}")
    return points / 100


def tasks_of(item: Path, folder: Path, fits: plan.Fits, settings: Settings) -> list[plan.Task]:
    """Return the tasks for one item: train a config with each seed and on each fold, or test a run."""
    if item.is_file():
        places = [(seed, folder / item.stem / f"seed_{seed}") for seed in range(settings.seeds)]
        if not settings.folds:
            return [plan.training(item, seed, fits, place) for seed, place in places]
        return [
            plan.training(item, seed, fits, place / f"fold_{fold}", fold)
            for seed, place in places
            for fold in range(settings.folds)
        ]
    return [plan.testing(item, fits, folder)]

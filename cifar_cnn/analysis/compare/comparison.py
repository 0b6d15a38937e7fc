"""Train and test the runs of a comparison, and compare their results."""

import sys
from pathlib import Path

from filelock import FileLock, Timeout

from cifar_cnn.analysis.compare import plan
from cifar_cnn.analysis.compare.carrying_out import Engine, carry_out
from cifar_cnn.analysis.compare.networks import group
from cifar_cnn.analysis.compare.results import read_run
from cifar_cnn.analysis.compare.writing import Comparison, print_and_write
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


def compare(
    items: list[Path], folder: Path, fits: plan.Fits, seeds: int, command_line: str, engine: Engine
) -> dict[str, str]:
    """Compare runs, and configs that are trained first; print and write the results.

    Args:
        items: from :func:`run_or_config`.
        folder: folder for the results and the runs, from :func:`cifar_cnn.analysis.compare.plan.plan_folder`.
        fits: the commands that train and test.
        seeds: number of seeds to train each config with.
        command_line: the command line, which is recorded with the results.
        engine: starts the trainings and tests, one or several at a time.

    Returns:
        The reason for each failed task, by the name of the task. All other runs are compared.

    Raises:
        InputError: no run has a result, or another process is using ``folder``.
    """
    try:
        with FileLock(folder / ".lock", timeout=0):
            return _compare(items, folder, fits, seeds, command_line, engine)
    except Timeout:
        raise InputError(f"another process is working on this comparison, in {folder}") from None


def _compare(
    items: list[Path], folder: Path, fits: plan.Fits, seeds: int, command_line: str, engine: Engine
) -> dict[str, str]:
    tasks = [(item, task) for item in items for task in _tasks(item, folder, fits, seeds)]
    if not all(task.is_done() for _, task in tasks):
        carry_out([task for _, task in tasks], engine)
    failures = {task.name: task.failure for _, task in tasks if task.failure}
    runs = [(item, run) for item, task in tasks if not task.failure and (run := task.run()) is not None]
    if not runs:
        raise InputError(f"no run has a result: {'; '.join(failures.values())}")
    configs = {item.stem for item in items if item.is_file()}
    networks = group([(item, read_run(run)) for item, run in runs], configs)
    print_and_write(folder, Comparison(command_line, networks, failures))
    for name, reason in failures.items():
        print(f"cifar-cnn: {name} failed: {reason}", file=sys.stderr)
    return failures


def _tasks(item: Path, folder: Path, fits: plan.Fits, seeds: int) -> list[plan.Task]:
    """Train a config with each seed, or test a run."""
    if item.is_file():
        return [plan.training(item, seed, fits, folder / item.stem / f"seed_{seed}") for seed in range(seeds)]
    return [plan.testing(item, fits, folder)]

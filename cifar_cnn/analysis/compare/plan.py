"""The plan of a comparison: train each config with each seed, or resume the unfinished runs of an earlier call."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.files import write, writing_into
from cifar_cnn.base.paths import check_output_folder
from cifar_cnn.data import Source
from cifar_cnn.runs.folders import same_or_next_folder
from cifar_cnn.runs.run import RunFolder
from cifar_cnn.runs.work import CHECKPOINT, EvaluationWork, TrainingWork, Work

PLAN = "plan.json"


@dataclass
class Task:
    """A process that trains and tests a run, or only tests it.

    Attributes:
        name: its name in the results.
        epochs: number of epochs it takes, for the progress bar.
        log: file for its output.
        work: finds the run and the command for the remaining work.
        trains: whether it trains, rather than only tests.
        failure: why there is no result, in one line; empty if there is one.
    """

    name: str
    epochs: int
    log: Path
    work: Work
    trains: bool = True
    failure: str = ""

    def run(self) -> Path | None:
        """The folder of the run; None if it does not exist yet."""
        return self.work.run()

    def is_done(self) -> bool:
        """Whether its run has been tested."""
        run = self.run()
        return run is not None and RunFolder(run).is_tested


class Fits(Protocol):
    """The arguments of ``cifar-cnn`` for training and testing; the command line implements it."""

    def fit(self, config: Path, seed: int, folder: Path, fold: int | None) -> list[str]:
        """Train a config with a seed in ``folder``, on all folds but one if ``fold`` is given, and test it."""

    def resume(self, checkpoint: Path) -> list[str]:
        """Resume the run of a checkpoint and test it."""

    def test(self, run: Path) -> list[str]:
        """Test the best checkpoint of a run."""

    def epochs(self, config: Path) -> int:
        """Number of epochs that a config trains for."""

    def source(self, config: Path) -> Source | None:
        """The image source of a config, without loading images; None if it cannot be created."""


def training(config: Path, seed: int, fits: Fits, folder: Path, fold: int | None = None) -> Task:
    """A task that trains a config with a seed in ``folder``, or resumes the run there, and tests it.

    Args:
        config: the config.
        seed: the seed.
        fits: the commands that train and test.
        folder: folder for the run.
        fold: the fold to validate on, in a cross-validation.
    """
    work = TrainingWork(folder, fits.fit(config, seed, folder, fold), fits.resume(Path(CHECKPOINT)))
    name = f"{config.stem}, seed {seed}" + (f", fold {fold}" if fold is not None else "")
    return Task(name, fits.epochs(config), folder / "log.txt", work)


def testing(run: Path, fits: Fits, folder: Path) -> Task:
    """A task that tests the best checkpoint of a trained run."""
    return Task(f"test of {run.name}", 1, folder / f"test_{run.name}.txt", EvaluationWork(run, fits.test(run)), False)


def identity(items: list[Path], seeds: int, options: list[str], folds: int = 0) -> dict[str, Any]:
    """The inputs of a comparison as plain data; equal for calls that do the same work.

    Args:
        items: configs and folders of runs.
        seeds: number of seeds for each config.
        options: options of each fit.
        folds: number of folds of a cross-validation; 0 without one.
    """
    contents = {str(item): hashlib.sha256(item.read_bytes()).hexdigest() if item.is_file() else "run" for item in items}
    trains = any(item.is_file() for item in items)
    plan = {"items": contents, "seeds": seeds if trains else None, "options": options}
    return plan | ({"folds": folds} if folds else {})


def plan_folder(plan: dict[str, Any], root: Path, output: Path | None) -> Path:
    """Find the folder in which the same plan was started, or create a new one.

    Args:
        plan: from :func:`identity`.
        root: parent of the folders ``compare_N``.
        output: folder to use instead.

    Raises:
        InputError: ``output`` holds another plan or other files, or cannot be written.
    """
    if output is not None:
        if (output / PLAN).is_file():
            if _read(output) != plan:
                raise InputError(f"{output} holds another comparison (see its {PLAN}): choose another folder")
            return output
        check_output_folder(output, PLAN, "a comparison")
    folder = output or same_or_next_folder(root, "compare", lambda folder: _read(folder) == plan)
    if _read(folder) != plan:
        with writing_into(folder):
            write(folder / PLAN, json.dumps(plan, indent=1) + "\n")
    return folder


def _read(folder: Path) -> Any:
    try:
        return json.loads((folder / PLAN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None

"""The content of the ladder: recipes, read from the folders of runs, and results of other projects."""

import csv
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from cifar_cnn.analysis.compare import run_or_config
from cifar_cnn.analysis.compare.networks import Network, group
from cifar_cnn.analysis.compare.results import read_run
from cifar_cnn.analysis.compare.tables import notes
from cifar_cnn.base.errors import InputError
from cifar_cnn.base.paths import relative
from cifar_cnn.runs.metric_rows import number
from cifar_cnn.runs.run import RunFolder
from cifar_cnn.runs.schemas import FitRecord

_PEER_COLUMNS = ("name", "seconds", "accuracy", "n", "hardware")


class Peer(NamedTuple):
    """The result of another project."""

    name: str
    seconds: float  # of training
    accuracy: float  # on test images, from 0 to 1
    n: int  # number of runs
    hardware: str


@dataclass(frozen=True)
class Recipe:
    """The runs of one config on one machine.

    Attributes:
        name: name of the config.
        accuracies: test accuracy of each run, from 0 to 1.
        seconds: training time of each run, validation included.
        curves: for each run, the time and the validation accuracy at the end of each epoch with a validation.
        epochs: largest number of epochs of a run.
        train_images: numbers of training images.
        conditions: what must be equal for recipes to be comparable, by name; several values if the runs differ.
        versions: versions of torch and Lightning.
        was_interrupted: whether a run was interrupted and resumed.
    """

    name: str
    accuracies: list[float]
    seconds: list[float]
    curves: list[tuple[list[float], list[float]]]
    epochs: int
    train_images: list[int]
    conditions: dict[str, list[str]]
    versions: list[str]
    was_interrupted: bool

    @property
    def n(self) -> int:
        """Number of runs."""
        return len(self.accuracies)


class Ladder(NamedTuple):
    """The recipes, fastest first; sentences about them; and the runs without a result, which were left out."""

    recipes: list[Recipe]
    notes: list[str]
    left_out: list[Path]


def read_ladder(paths: Sequence[Path]) -> Ladder:
    """Read runs and group those that differ only in their seed or fold.

    Args:
        paths: runs, and folders that contain runs; in these, runs that are not finished or not tested are left out.

    Raises:
        InputError: there are no runs, or a file of a run is damaged.
    """
    given = [run_or_config(str(path)) for path in paths if _is_run(path)]
    found = [run for path in paths if not _is_run(path) for run in _runs_in(path)]
    unfinished = [run for run in found if RunFolder(run).status != "finished" or not RunFolder(run).is_tested]
    folders = dict.fromkeys(run for run in [*given, *found] if run not in unfinished)
    if not folders:
        raise InputError(f"no run in {', '.join(map(str, paths))} is finished and tested")
    networks = group([(folder, read_run(folder)) for folder in folders], set())
    recipes = sorted(map(recipe_of, networks), key=lambda recipe: statistics.mean(recipe.seconds))
    interrupted = [recipe.name for recipe in recipes if recipe.was_interrupted]
    too_short = "a run was interrupted, and what it trained after its last checkpoint is not counted in its time"
    lines = notes(networks) + ([f"{', '.join(interrupted)}: {too_short}."] if interrupted else [])
    return Ladder(recipes, lines, unfinished)


def _is_run(path: Path) -> bool:
    return (path / "config.yaml").is_file()


def _runs_in(path: Path) -> list[Path]:
    if not path.is_dir():
        raise InputError(f"{path} is neither a run nor a folder with runs")
    return sorted(Path(relative(config.parent)) for config in path.rglob("config.yaml") if _has_record(config.parent))


def _has_record(folder: Path) -> bool:
    return (folder / "fit.json").is_file()


def recipe_of(network: Network) -> Recipe:
    """The recipe of the runs of one experiment."""
    runs = [RunFolder(run.folder) for run in network.runs.values()]
    sessions = [session for run in runs for session in run.sessions]
    tests = [run.result["tested_on"] for run in runs]
    conditions = {
        "hardware": unique(session.get("hardware", "unknown hardware") for session in sessions),
        "precision": unique(session.get("precision", "unknown precision") for session in sessions),
        "test images": unique(f"{test['images']:,} test images ({test['sha256'][:8]})" for test in tests),
    }
    return Recipe(
        network.name,
        network.accuracies(),
        [run.seconds for run in network.runs.values()],
        [_curve(run) for run in runs],
        max(len(run.epochs) for run in runs),
        sorted({images["train"] for session in sessions if (images := session.get("images")) and "train" in images}),
        conditions,
        unique(_versions(session) for session in sessions),
        any(session.get("status") != "finished" for session in sessions),
    )


def _versions(record: FitRecord) -> str:
    found = record.get("versions", {})
    return ", ".join(f"{name} {found[name]}" for name in ("torch", "lightning") if name in found)


def unique(values: Iterable[str]) -> list[str]:
    """The values without repetitions, in their order."""
    return list(dict.fromkeys(values))


def _curve(run: RunFolder) -> tuple[list[float], list[float]]:
    epochs = run.epochs
    ends = accumulate(epoch["epoch_seconds"] for epoch in epochs)
    points = [(end, epoch.get("val/accuracy", math.nan)) for end, epoch in zip(ends, epochs, strict=True)]
    measured = [point for point in points if math.isfinite(point[1])]
    return [end for end, _ in measured], [value for _, value in measured]


def conditions_that_differ(recipes: Sequence[Recipe]) -> dict[str, list[str]]:
    """The conditions in which runs differ, with their values."""
    names = recipes[0].conditions
    values = {name: unique(value for each in recipes for value in each.conditions[name]) for name in names}
    return {name: found for name, found in values.items() if len(found) > 1}


def read_peers(path: Path) -> list[Peer]:
    """Read the results of other projects from a CSV file with the columns name, seconds, accuracy, n and hardware.

    Raises:
        InputError: the file cannot be read, or a value is wrong; the message names the row.
    """
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines(), strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not rows or set(rows[0]) - {None} != set(_PEER_COLUMNS):
        raise InputError(f"{path} needs rows with the columns {', '.join(_PEER_COLUMNS)}")
    return [_peer(row, f"{path}, row {index}") for index, row in enumerate(rows, start=1)]


def _peer(row: dict[Any, Any], place: str) -> Peer:
    if None in row:  # the csv module's name for further cells
        raise InputError(f"{place}: {len(_PEER_COLUMNS)} values are needed")
    name, hardware = (str(row[column] or "").strip() for column in ("name", "hardware"))
    seconds, accuracy, n = (number(row[column] or "") for column in ("seconds", "accuracy", "n"))
    if not name or not hardware:
        raise InputError(f"{place}: name and hardware must not be empty")
    if not (0 < seconds < math.inf and 0 <= accuracy <= 1 and n >= 1 and n.is_integer()):
        raise InputError(f"{place}: seconds must be above 0, accuracy from 0 to 1 and n an integer from 1")
    return Peer(name, seconds, accuracy, int(n), hardware)

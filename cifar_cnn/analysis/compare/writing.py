"""Print a comparison and write its files: Markdown, JSON, CSV and plots."""

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cifar_cnn.analysis import charts
from cifar_cnn.analysis.compare.networks import Network, Pair, pairs_of
from cifar_cnn.analysis.compare.tables import network_table, notes, option_table, pair_table
from cifar_cnn.analysis.statistics import LEVEL
from cifar_cnn.base.errors import InputError
from cifar_cnn.base.files import write
from cifar_cnn.base.paths import relative

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison.

    Attributes:
        command: the command line that produced it.
        networks: the networks, with their runs.
        failures: the reason for each failed task, by the name of the task.
    """

    command: str
    networks: list[Network]
    failures: dict[str, str]

    @property
    def pairs(self) -> list[Pair]:
        """All pairs of networks."""
        return pairs_of(self.networks)


def print_and_write(folder: Path, comparison: Comparison) -> None:
    """Print the tables and write all files; each file is replaced atomically.

    Raises:
        InputError: the folder cannot be written.
    """
    networks, pairs = comparison.networks, comparison.pairs
    for text in [network_table(networks), option_table(networks), pair_table(pairs) if pairs else "", *notes(networks)]:
        if text:
            print(f"\n{text}")
    try:
        _write(folder, comparison, pairs)
    except OSError as error:
        raise InputError(f"cannot write into {folder}: {error.strerror}") from error
    print(f"\nWritten to {relative(folder)}: compare.md, compare.json, 3 tables as CSV, accuracy.png, curves.png")


def _write(folder: Path, comparison: Comparison, pairs: list[Pair]) -> None:
    from cifar_cnn.analysis.compare import plots  # imports matplotlib

    networks = comparison.networks
    content: dict[str, Any] = {
        "command": comparison.command,
        "networks": [network.summary() for network in networks],
        "runs": _run_rows(networks),
        "differences": _difference_rows(pairs),
        "failed": comparison.failures,
    }
    write(folder / "compare.md", _markdown(comparison, pairs))
    write(folder / "compare.json", json.dumps(content, indent=1) + "\n")
    write(folder / "networks.csv", _as_csv(content["networks"]))
    write(folder / "runs.csv", _as_csv(content["runs"]))
    write(folder / "differences.csv", _as_csv([_flat(row) for row in content["differences"]]))
    write(folder / "accuracy.png", charts.png(plots.accuracy(networks)))
    write(folder / "curves.png", charts.png(plots.curves(networks)))


def _run_rows(networks: list[Network]) -> Rows:
    return [
        {
            "name": network.name,
            "seed": run.seed,
            "folder": relative(run.folder),
            "test_accuracy": run.test_accuracy,
            "val_accuracy": run.best_validation,
            "training_seconds": run.seconds,
        }
        for network in networks
        for run in network.runs.values()
    ]


def _difference_rows(pairs: list[Pair]) -> Rows:
    return [
        {
            "a": a.name,
            "b": b.name,
            "b_minus_a": result.mean,
            "over_seeds": result.seeds_interval,
            "paired": result.paired,
            "over_images": result.images_interval,
            "mcnemar_p": result.mcnemar_p,
        }
        for a, b, result in pairs
    ]


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """A row of differences with a column for each end of its intervals."""
    flat = {name: value for name, value in row.items() if not name.startswith("over_")}
    for name in ("over_seeds", "over_images"):
        for side, end in zip(("low", "high"), row[name] or (None, None), strict=True):
            flat[f"{name}_{side}"] = end
    return flat


def _as_csv(rows: Rows) -> bytes:
    if not rows:
        return b""
    stream = io.StringIO(newline="")
    table = csv.DictWriter(stream, list(rows[0]))
    table.writeheader()
    table.writerows(rows)
    return stream.getvalue().encode()


def _markdown(comparison: Comparison, pairs: list[Pair]) -> str:
    networks = comparison.networks
    images = sorted({len(run.correct) for network in networks for run in network.runs.values()})
    options = option_table(networks)
    parts = [
        "# Comparison",
        f"`{comparison.command}`",
        network_table(networks),
        f"Accuracy on {' or '.join(f'{n:,}' for n in images)} test images at the epoch with the best validation "
        "accuracy: mean and standard deviation over n runs with different seeds. MACs: multiply-adds for one image. "
        "Training time: mean per run, including validation.",
        *notes(networks),
        *(["Options that differ:", options] if options else []),
        "![test accuracy of each run](accuracy.png)",
        "![validation accuracy by epoch](curves.png)",
    ]
    if pairs:
        parts += ["## Differences", pair_table(pairs), _HOW_TO_READ]
    if comparison.failures:
        parts += ["## Failed", "\n".join(f"- {name}: {reason}" for name, reason in comparison.failures.items())]
    return "\n\n".join(parts) + "\n"


_HOW_TO_READ = (
    f"Differences are in percentage points of test accuracy. {LEVEL:.0%} confidence intervals: over seeds by "
    "Student's t, for the seeds that both networks were trained with (*: unpaired, Welch's t); over test images by "
    "bootstrap, for these particular runs. McNemar p, for one run each: the probability, if both networks were equally "
    "good, that the images that only one of them classifies correctly are split at least this unequally. No value is "
    "adjusted for the number of pairs."
)

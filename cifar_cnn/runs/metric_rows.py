"""metrics.csv as it is read back: its rows, and the values of each finished epoch."""

import csv
import math
from pathlib import Path

from cifar_cnn.errors import InputError

Epoch = dict[str, float]


def metric_rows(path: Path, missing_ok: bool = False) -> list[dict[str, str]]:
    """The rows of a metrics.csv.

    Raises:
        InputError: the file is missing or unreadable, and ``missing_ok`` is False.
    """
    try:
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        if missing_ok:
            return []
        raise InputError(f"there is no {path.name}") from error


def finished_epochs(path: Path) -> list[Epoch]:
    """For each finished epoch, the last value of each column; empty without a file."""
    found: dict[str, dict[str, str]] = {}
    for row in metric_rows(path, missing_ok=True):
        epoch = found.setdefault(str(row.get("epoch")), {})
        epoch.update((name, value) for name, value in row.items() if name and value)
    finished = [epoch for epoch in found.values() if "epoch_seconds" in epoch]
    return [{name: _number(value) for name, value in epoch.items()} for epoch in finished]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan

"""Read metrics.csv: its rows, and the values of each finished epoch."""

import csv
import io
import math
from pathlib import Path

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.paths import relative

Epoch = dict[str, float]
Row = dict[str, str]

_LARGEST = 2**53  # larger integers are not exact as float
_PREFIXES = ("train/", "val/", "test/", "lr")  # prefixes of numeric columns; a user may log text in other columns


def metric_rows(path: Path, missing_ok: bool = False) -> list[Row]:
    """Read the rows of a metrics.csv, each without its empty values.

    A last row that does not end with a newline is left out: the process was killed while it wrote the row.

    Raises:
        InputError: the file is missing and ``missing_ok`` is False, the file is unreadable, or a value is not a number.
    """
    if not missing_ok and not path.exists():
        raise InputError(f"there is no {path.name}")
    rows = unchecked_rows(path)
    for index, row in enumerate(rows, start=1):
        for name, value in row.items():
            if expected := _expected(name, value):
                raise _damaged(path, f"{name[:40]} in row {index} must be {expected}, not {value[:40]!r}")
    return rows


def unchecked_rows(path: Path) -> list[Row]:
    """Read the rows of a metrics.csv without checking their values; empty if there is no file.

    Raises:
        InputError: the file is unreadable.
    """
    try:
        text = path.read_bytes().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{relative(path)} cannot be read: {error.strerror}") from error
    try:
        rows = list(csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1], newline="")))
    except csv.Error as error:
        raise _damaged(path, str(error)) from error
    return [{name: value for name, value in row.items() if name and value} for row in rows]


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(f"{relative(path)}: {reason}; copy it again, or delete it and use the run without its curves")


def _expected(name: str, value: str) -> str:
    """What the value of a column must be; empty if the value is valid."""
    found = number(value)
    if name in ("epoch", "step"):
        least = 0 if name == "epoch" else -math.inf
        whole = least <= found and abs(found) < _LARGEST and found.is_integer()
        return "" if whole else "an integer"
    if name == "epoch_seconds":
        return "" if found >= 0 and math.isfinite(found) else "a number from 0"
    if name.startswith(_PREFIXES):
        return "" if not math.isnan(found) or value.strip().lower() in ("nan", "-nan") else "a number"
    return ""


def finished_epochs(path: Path) -> list[Epoch]:
    """For each finished epoch, the last value of each column; empty if there is no file.

    Raises:
        InputError: see :func:`metric_rows`.
    """
    found: dict[str, Row] = {}
    for row in metric_rows(path, missing_ok=True):
        found.setdefault(row.get("epoch", ""), {}).update(row)
    finished = [epoch for epoch in found.values() if "epoch_seconds" in epoch]
    return [{name: number(value) for name, value in epoch.items()} for epoch in finished]


def number(text: str) -> float:
    """A value as a number; NaN for text."""
    try:
        return float(text)
    except ValueError:
        return math.nan

"""A table of the runs in a folder."""

import math
from datetime import datetime
from pathlib import Path

from cifar_cnn.analysis.numbers import duration
from cifar_cnn.base.errors import InputError
from cifar_cnn.base.tables import text_table
from cifar_cnn.runs.folders import check_links, run_folders
from cifar_cnn.runs.run import RunFolder

COLUMNS = ("run", "name", "epochs", "val", "test", "started", "time", "status")
_LEFT = ("run", "name", "started", "status")  # columns of text


def table(root: Path) -> str:
    """A table of the runs in a folder, followed by one line for each damaged run.

    Raises:
        InputError: there are no runs.
    """
    folders = run_folders(root)
    if not folders:
        raise InputError(f"there are no runs in {root}: train one with `cifar-cnn fit`")
    rows: list[tuple[str, ...]] = [COLUMNS]
    damaged = []
    for folder in folders:
        try:
            check_links(folder)
            rows.append(row(RunFolder(folder)))
        except InputError as error:
            rows.append((folder.name, *["-"] * (len(COLUMNS) - 2), "damaged"))
            damaged.append(str(error))
    return "\n".join([*text_table(rows, left=[COLUMNS.index(name) for name in _LEFT]), *damaged])


def row(run: RunFolder) -> tuple[str, ...]:
    """The cells of a run; ``-`` for unknown values.

    Raises:
        InputError: a file of the run is damaged.
    """
    epochs, begun = run.epochs, run.sessions[0]
    accuracies = [value for epoch in epochs if math.isfinite(value := epoch.get("val/accuracy", math.nan))]
    seconds = sum(epoch["epoch_seconds"] for epoch in epochs)
    return (
        run.folder.name,
        run.label or "-",
        str(len(epochs)),
        f"{max(accuracies):.2%}" if accuracies else "-",
        f"{run.result['accuracy']:.2%}" if run.is_tested else "-",
        _when(begun.get("started")),
        duration(seconds) if epochs else "-",
        run.status,
    )


def _when(started: object) -> str:
    try:
        return datetime.fromisoformat(str(started)).astimezone().strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError):  # the record is incomplete or not from this package
        return "-"

"""A table of the runs in a folder."""

from datetime import datetime
from pathlib import Path

from cifar_cnn.analysis.numbers import duration
from cifar_cnn.errors import InputError
from cifar_cnn.runs.folders import run_folders
from cifar_cnn.runs.run import RunFolder
from cifar_cnn.tables import text_table

COLUMNS = ("run", "name", "epochs", "val", "test", "started", "time", "status")
_LEFT = ("run", "name", "started", "status")  # columns of text


def table(root: Path) -> str:
    """The runs of a folder, one per line, below the names of the columns.

    Raises:
        InputError: there are no runs.
    """
    folders = run_folders(root)
    if not folders:
        raise InputError(f"there are no runs in {root}: train one with `cifar-cnn fit`")
    rows = [COLUMNS, *(row(RunFolder(folder)) for folder in folders)]
    return "\n".join(text_table(rows, left=[COLUMNS.index(name) for name in _LEFT]))


def row(run: RunFolder) -> tuple[str, ...]:
    """The cells of a run; ``-`` for unknown values."""
    epochs, begun = run.epochs, run.begun
    accuracies = [epoch["val/accuracy"] for epoch in epochs if "val/accuracy" in epoch]
    seconds = sum(epoch["epoch_seconds"] for epoch in epochs)
    tested = run.result.get("accuracy") if run.is_tested else None
    return (
        run.folder.name,
        run.label or "-",
        str(len(epochs)),
        f"{max(accuracies):.2%}" if accuracies else "-",
        f"{tested:.2%}" if isinstance(tested, float) else "-",
        _when(begun.get("started")),
        duration(seconds) if epochs else "-",
        run.status,
    )


def _when(started: object) -> str:
    try:
        return datetime.fromisoformat(str(started)).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:  # the record is incomplete or not from this package
        return "-"

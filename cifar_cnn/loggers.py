"""metrics.csv for a run that may be interrupted and go on."""

import csv
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger


class RunCSVLogger(CSVLogger):
    """Lightning's CSVLogger, but a run that goes on keeps the rows it has.

    Lightning's own deletes a metrics.csv that it finds.

    Args:
        folder: of the run.
        first_step: rows of this step and later are dropped: the run goes on from there and logs them again.
    """

    def __init__(self, folder: Path, first_step: int = 0) -> None:
        super().__init__(str(folder.parent), name="", version=folder.name)
        self._first_step = first_step

    @property
    def experiment(self) -> Any:
        """The writer, which holds the kept rows until it first saves."""
        if self._experiment is None:
            kept = self._kept_rows()
            writer = super().experiment
            if kept:
                writer.metrics = kept
                writer.save()
        return super().experiment

    def _kept_rows(self) -> list[dict[str, Any]]:
        path = Path(self.log_dir, "metrics.csv")
        if not path.is_file():
            return []
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["step"] and int(row["step"]) < self._first_step]
        return [{name: value for name, value in row.items() if value} for row in rows]

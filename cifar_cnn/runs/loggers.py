"""Loggers of metrics.csv and TensorBoard events that survive interruptions, resumes and full disks."""

import csv
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning.pytorch.core.saving import save_hparams_to_yaml
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from cifar_cnn.base.files import replacing
from cifar_cnn.parts import record_known
from cifar_cnn.runs.metric_rows import metric_rows, unchecked_rows

log = logging.getLogger("cifar_cnn")


class RunCSVLogger(CSVLogger):
    """Lightning's CSVLogger, except that a resumed run keeps its rows.

    Lightning deletes an existing metrics.csv. Rows that cannot be written cause one warning and are kept for the next
    attempt.

    Args:
        folder: folder of the run.
        first_step: rows of this step and later are dropped, because the resumed run logs them again.
    """

    def __init__(self, folder: Path, first_step: int = 0) -> None:
        super().__init__(str(folder.parent), name="", version=folder.name)
        self._first_step = first_step
        self._file: MetricsFile | None = None
        self._warned = False

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The writer, on rank 0 only."""
        if self._file is None:
            self._file = MetricsFile(Path(self.log_dir), self._first_step)
        return self._file

    def log_hyperparams(self, params: Any = None) -> None:
        """Store hyper-parameters as plain data."""
        super().log_hyperparams(_plain(params))

    def save(self) -> None:
        """Write the pending rows."""
        try:
            super().save()
        except OSError as error:
            if not self._warned:
                log.warning("metrics.csv could not be written; training continues: %s", error)
            self._warned = True

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the last rows."""
        if self._file is not None:  # the process that launches the ranks has no file
            self.save()


class MetricsFile:
    """A metrics.csv that stays intact when the process is killed, except perhaps for its last row.

    Args:
        folder: folder of the file.
        first_step: rows of this step and later, written by the interrupted run, are dropped.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        self.metrics: list[dict[str, Any]] = []  # rows not written yet
        self.hparams: dict[str, Any] = {}
        self._columns: list[str] = []
        self._path = folder / "metrics.csv"
        folder.mkdir(parents=True, exist_ok=True)
        rows = metric_rows(self._path, missing_ok=True)
        kept = [row for row in rows if "step" in row and float(row["step"]) < first_step]
        if kept:
            self._columns = sorted(set().union(*kept))
            self._rewrite(self._columns, kept)
        elif rows:
            self._path.unlink()

    def log_hparams(self, params: Mapping[str, Any]) -> None:
        """Write hyper-parameters to hparams.yaml."""
        self.hparams.update(params)
        save_hparams_to_yaml(str(self._path.with_name("hparams.yaml")), self.hparams)

    def log_metrics(self, values: Mapping[str, Any], step: int) -> None:
        """Keep a row until :meth:`save` writes it."""
        plain = {name: value.item() if isinstance(value, Tensor) else value for name, value in values.items()}
        self.metrics.append({**plain, "step": step})

    def save(self) -> None:
        """Append the pending rows; if they have new columns, rewrite the file with a new header.

        Raises:
            OSError: the rows could not be written; they are kept, and the file is unchanged.
        """
        if not self.metrics:
            return
        keys = sorted({*self._columns, *(name for row in self.metrics for name in row)})
        if keys != self._columns or not self._path.exists():
            self._rewrite(keys, [*unchecked_rows(self._path), *self.metrics])
        else:
            size = self._path.stat().st_size
            try:
                with self._path.open("a", newline="", encoding="utf-8") as file:
                    csv.DictWriter(file, keys).writerows(self.metrics)
            except OSError:
                with suppress(OSError):
                    os.truncate(self._path, size)
                raise
        self._columns = keys
        self.metrics = []

    def _rewrite(self, keys: list[str], rows: Sequence[Mapping[str, Any]]) -> None:
        with replacing(self._path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, keys)
            writer.writeheader()
            writer.writerows(rows)


class RunTensorBoardLogger(TensorBoardLogger):
    """Lightning's TensorBoardLogger, except that a failed write causes one warning and training continues."""

    def __init__(self, folder: Path, first_step: int = 0) -> None:
        # Lightning would log hp_metric as a single point, -1; TensorBoardPages writes the accuracy at the end instead.
        super().__init__(str(folder.parent), "", folder.name, purge_step=first_step or None, default_hp_metric=False)
        self._failed = False

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Write hyper-parameters as plain data."""
        super().log_hyperparams(_plain(params), *args, **kwargs)

    def log_metrics(self, *args: Any, **kwargs: Any) -> None:
        """Write values as events."""
        self._try(super().log_metrics, *args, **kwargs)

    def save(self) -> None:
        """Write pending events."""
        self._try(super().save)

    def finalize(self, status: str) -> None:
        """Close the file."""
        self._try(super().finalize, status)

    def _try(self, write: Any, *args: Any, **kwargs: Any) -> None:
        if self._failed:
            return
        try:
            write(*args, **kwargs)
        except (OSError, ValueError) as error:  # Lightning may wrap an OSError in a ValueError
            cause = error if isinstance(error, OSError) else error.__cause__
            if not isinstance(cause, OSError):
                raise
            self._failed = True
            log.warning("TensorBoard's events could not be written; training continues without them: %s", cause)


def _plain(params: Any) -> Any:
    """Hyper-parameters without networks, whose weights Lightning would write into hparams.yaml."""
    return record_known(params)[0] if isinstance(params, Mapping) else params


def run_loggers(given: list[Logger], folder: Path | None, first_step: int) -> list[Logger]:
    """The loggers of a run.

    Args:
        given: loggers from the user. If the first is a TensorBoardLogger or CSVLogger, its folder is the run's folder.
        folder: folder of the run; None for a new run that uses the folder of such a logger.
        first_step: rows and events of this step and later are dropped.
    """
    if brings_a_folder(given):
        return [_in_folder(each, folder, first_step) for each in given] if folder else given
    assert folder is not None
    kinds = (RunCSVLogger,) if given else (RunTensorBoardLogger, RunCSVLogger)
    return [*(kind(folder, first_step) for kind in kinds), *given]


def brings_a_folder(given: list[Logger]) -> bool:
    """Whether the first of the user's loggers determines the folder of the run."""
    return bool(given) and isinstance(given[0], (TensorBoardLogger, CSVLogger))


def _in_folder(logger: Logger, run: Path, first_step: int) -> Logger:
    """A logger of the same kind that writes to the folder of the resumed run instead of a new folder."""
    if isinstance(logger, CSVLogger):
        return RunCSVLogger(run, first_step)
    return RunTensorBoardLogger(run, first_step) if isinstance(logger, TensorBoardLogger) else logger

"""The remaining work on a run, as arguments of ``cifar-cnn``. A cluster job imports this module and no library."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cifar_cnn.runs.folders import LAST, RUNS, run_folders

CHECKPOINT = "CHECKPOINT"  # stands for the checkpoint in the arguments that resume a run


class Work(Protocol):
    """The remaining work on a run."""

    def run(self) -> Path | None:
        """The folder of the run; None if it does not exist yet."""

    def command(self) -> list[str]:
        """The arguments of ``cifar-cnn`` for the remaining work."""


@dataclass(frozen=True)
class TrainingWork:
    """Train a run, or resume it.

    Attributes:
        root: the folder that contains ``lightning_logs``.
        begin: the arguments that start it.
        resume: the arguments that resume it from a checkpoint, with ``CHECKPOINT`` in its place.
    """

    root: Path
    begin: list[str]
    resume: list[str]

    def run(self) -> Path | None:
        """The folder of the newest run."""
        return next(iter(reversed(run_folders(self.root / RUNS))), None)

    def command(self) -> list[str]:
        """Resume the newest run if it has a checkpoint, else start one."""
        begun = self.run()
        if begun and (last := begun / "checkpoints" / LAST).is_file():
            return [str(last) if word == CHECKPOINT else word for word in self.resume]
        return self.begin


@dataclass(frozen=True)
class EvaluationWork:
    """Test a trained run.

    Attributes:
        folder: folder of the run.
        test: the arguments that test it.
    """

    folder: Path
    test: list[str]

    def run(self) -> Path:
        """The folder of the run."""
        return self.folder

    def command(self) -> list[str]:
        """Test it."""
        return self.test

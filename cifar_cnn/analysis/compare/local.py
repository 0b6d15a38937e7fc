"""Run tasks as processes on this machine, which share its cores and GPUs."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from cifar_cnn.analysis.compare.plan import Task
from cifar_cnn.base.errors import InputError
from cifar_cnn.base.image_files.folders import Skipped, regular_files
from cifar_cnn.base.image_files.memory import available_memory, in_words
from cifar_cnn.base.process import PROGRAM, environment
from cifar_cnn.data import Arrays, ImageFolder, Shapes, Source
from cifar_cnn.data.sources.cifar import OfficialArchive
from cifar_cnn.hardware import available_cores


class Processes:
    """Starts tasks as processes on this machine.

    A single process uses the whole machine. Several processes get an equal number of threads each, and the same number
    of GPUs each; if there are fewer GPUs than processes, several processes share one GPU.

    Args:
        jobs: number of processes at a time.

    Raises:
        InputError: ``jobs`` is less than 1.
    """

    interval = 0.5

    def __init__(self, jobs: int = 1) -> None:
        if jobs < 1:
            raise InputError(f"jobs must be 1 or more, not {jobs}")
        self.at_once = jobs

    def prepare(self, tasks: Sequence[Task], folder: Path) -> None:
        """Do nothing; processes need no preparation."""

    def start(self, task: Task, place: int) -> "subprocess.Popen[bytes]":
        """Start the command of a task; its output goes to the task's log."""
        task.log.parent.mkdir(parents=True, exist_ok=True)
        # Started by its path, since -m would prefer a package cifar_cnn in the current folder.
        command = [sys.executable, PROGRAM, *task.work.command()]
        variables = {**environment(), **share(place, self.at_once)}
        with task.log.open("w", encoding="utf-8") as log:
            # In its own session, a fit receives one signal rather than two on Ctrl-C, and so saves a checkpoint first.
            return subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=variables, start_new_session=True
            )


def share(place: int, jobs: int) -> dict[str, str]:
    """The environment variables that give a process its share of the cores and GPUs; empty for a single process.

    Args:
        place: number of the process, from 0 to ``jobs`` - 1.
        jobs: number of processes at a time.
    """
    if jobs == 1:
        return {}
    threads = max(1, available_cores() // jobs)
    if (given := os.environ.get("OMP_NUM_THREADS", "")).isdecimal():
        threads = max(1, min(threads, int(given)))
    found = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    if gpus := _visible_gpus():
        each = len(gpus) // jobs  # the same number for all runs, since it can change the result
        own = gpus[place * each : (place + 1) * each] if each else [gpus[place % len(gpus)]]
        found["CUDA_VISIBLE_DEVICES"] = ",".join(own)
    return found


def _visible_gpus() -> list[str]:
    """The names of the GPUs that this process may use, as in CUDA_VISIBLE_DEVICES."""
    count = torch.cuda.device_count()
    names = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return names[:count] if names else [str(number) for number in range(count)]


def check_memory_for(jobs: int, sources: Iterable[Source | None]) -> None:
    """Check that the training images of several runs fit into memory at the same time.

    Args:
        jobs: number of runs at a time.
        sources: the sources of their images; those of unknown size are not counted.

    Raises:
        InputError: the images of ``jobs`` runs of the largest source do not fit.
    """
    # Twice, because splitting off the validation images copies them.
    needed = 2 * max((_bytes_of(source) for source in sources if source is not None), default=0)
    available = available_memory()
    if available is None or jobs == 1 or jobs * needed <= available:
        return
    raise InputError(
        f"the images of {jobs} runs at a time need {in_words(jobs * needed)} of memory; {in_words(available)} are "
        f"available: set jobs to {max(1, int(available // needed))}",
        options=["jobs"],
    )


def _bytes_of(source: Source) -> int:
    """The memory that the training images of a source take, found without loading them; 0 if unknown."""
    try:
        if isinstance(source, OfficialArchive):
            return 50_000 * 3 * 32**2
        if isinstance(source, Shapes):
            return source.sizes["train"] * 3 * source.image_size**2
        if isinstance(source, ImageFolder):
            folders = [source.root / "train" / name for name in source.class_names]
            return sum(len(regular_files(each, Skipped())) for each in folders) * 3 * source.image_size**2
        if isinstance(source, Arrays) and (files_of_train := source.files["train"]) is not None:
            return _unpacked(files_of_train.images)
    except (InputError, OSError, ValueError):  # the fit reports it
        return 0
    return 0


def _unpacked(path: Path) -> int:
    """The size of an .npy file, or of the largest array in an .npz file."""
    if not zipfile.is_zipfile(path):
        return path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        return max((part.file_size for part in archive.infolist()), default=0)

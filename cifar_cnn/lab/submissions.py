"""Check a folder of submissions and write one table for the teacher, as CSV and HTML."""

import csv
import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.tables import printable
from cifar_cnn.lab import texts
from cifar_cnn.lab.exercises import select
from cifar_cnn.lab.findings import Outcome, finding
from cifar_cnn.lab.handout import FILE, NOTEBOOK, rendered, write_all
from cifar_cnn.lab.processes import Task, check_files
from cifar_cnn.lab.results import Results

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would evaluate a cell that starts with one


class Submission(NamedTuple):
    """A submission and its results.

    Attributes:
        name: name of its file or folder.
        results: results of its exercises.
    """

    name: str
    results: Results

    @property
    def line(self) -> str:
        """The submission in one line: how many exercises passed, and which did not."""
        words = texts.texts(self.results.language)["words"]
        failed = [each.exercise for each in self.results.outcomes if each.status == "failed"]
        todo = [each.exercise for each in self.results.outcomes if each.status == "todo"]
        rest = [f"{words[key]}: {' '.join(some)}" for key, some in (("failed", failed), ("todo", todo)) if some]
        return "; ".join([f"{self.name}: {self.results.summary}", *rest])


def check_all(folder: Path, numbers: Sequence[str] = (), language: str = texts.DEFAULT) -> Iterator[Submission]:
    """Check each submission in a folder.

    Args:
        folder: a folder with a file ``NAME.py``, or a folder ``NAME`` with a ``lab.py``, for each student.
        numbers: numbers of the exercises; empty for all.
        language: language of the hints.

    Yields:
        Each submission once it is checked.

    Raises:
        InputError: the folder has no submissions, or there is no such exercise.
    """
    chosen = select(numbers)
    files = _files(folder)
    tasks = [Task(str(path), each.number) for _, path in files for each in chosen if path.is_file()]
    names = {str(path): name for name, path in files}
    found: dict[str, dict[str, Outcome]] = {path: {} for path in names}
    for name, path in files:
        if not path.is_file():
            key = "only_notebook" if (path.parent / NOTEBOOK).is_file() and path.name == FILE else "no_file"
            missing = (finding(key, file=path.name),)
            outcomes = [Outcome(each.number, "failed", missing, imported=False) for each in chosen]
            yield Submission(name, Results(outcomes, language))
    for task, outcome in check_files(tasks):
        found[task.path][task.exercise] = outcome
        if len(found[task.path]) == len(chosen):
            outcomes = [found[task.path][each.number] for each in chosen]
            yield Submission(names[task.path], Results(outcomes, language))


def _files(folder: Path) -> list[tuple[str, Path]]:
    """The name and the file of each submission, in the order of the names."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: give the folder that contains the submissions")
    entries = sorted(each for each in folder.absolute().iterdir() if not each.name.startswith((".", "__")))
    files = [(each.name, each / FILE) if each.is_dir() else (each.stem, each) for each in entries]
    files = [(name, path) for name, path in files if path.suffix == ".py"]
    given = Counter(name for name, _ in files)  # ana.py beside ana/lab.py
    files = [(name if given[name] == 1 or path.name == FILE else path.name, path) for name, path in files]
    if not files:
        raise InputError(f"{folder} has no submissions: give a folder with files NAME.py or folders NAME/{FILE}")
    return files


def check_writable(folder: Path) -> None:
    """Check that results can be written into a folder, before a check that takes minutes.

    Raises:
        InputError: the folder cannot be written.
    """
    existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not existing.is_dir():
        raise InputError(f"cannot write into {folder}: {existing} is not a folder")
    if not os.access(existing, os.W_OK):
        raise InputError(f"cannot write into {folder}: no permission; give another folder for the results")


def write_results(submissions: Iterable[Submission], folder: Path, language: str = texts.DEFAULT) -> list[Path]:
    """Write ``results.csv`` and ``results.html``, in the order of the names; return their paths.

    Raises:
        InputError: the folder cannot be written.
    """
    ordered = sorted(submissions, key=lambda each: each.name)
    contents = {"results.csv": _csv(ordered), "results.html": _html(ordered, language)}
    return write_all(folder, contents)


def _csv(submissions: Sequence[Submission]) -> str:
    """A row for each submission: name, number of passed exercises, and for each exercise its status or its hints."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["submission", "passed", *(each.exercise for each in submissions[0].results.outcomes)])
    for name, results in submissions:
        cells = [_cell(each, results) for each in results.outcomes]
        writer.writerow([_safe(name), results.count, *map(_safe, cells)])
    return text.getvalue()


def _cell(outcome: Outcome, results: Results) -> str:
    hints = " | ".join(results.hints(outcome.exercise))
    return hints or texts.texts(results.language)["words"][outcome.status]


def _safe(text: str) -> str:
    text = printable(text)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _html(submissions: Sequence[Submission], language: str) -> str:
    rows = [
        {
            "name": printable(name),
            "count": results.count,
            "cells": [(each.status, results.hints(each.exercise)) for each in results.outcomes],
        }
        for name, results in submissions
    ]
    exercises: list[str] = [each.exercise for each in submissions[0].results.outcomes]
    words = texts.texts(language)["words"]
    return rendered("results.html", language=language, words=words, exercises=exercises, rows=rows)

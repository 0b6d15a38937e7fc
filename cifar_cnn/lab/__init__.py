"""The lab for a course: exercises to fill in, and a check that gives hints.

In a notebook::

    from cifar_cnn import lab

    lab.check(Net1a, "1a")  # a class or function of the notebook
    lab.check("lab.py")  # all exercises of a file, each in its own process

``cifar-cnn lab start DIR`` and :func:`start` write the exercises.
"""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from cifar_cnn.base.errors import InputError
from cifar_cnn.lab import exercises, handout, texts
from cifar_cnn.lab.findings import Outcome
from cifar_cnn.lab.processes import Task, check_files
from cifar_cnn.lab.results import Results

__all__ = ["Results", "check", "start"]


def start(folder: str | Path, language: str = texts.DEFAULT) -> list[Path]:
    """Write the exercises into a folder, as ``lab.py`` and ``lab.ipynb``.

    Args:
        folder: created if it is missing.
        language: ``en`` or ``ro``.

    Returns:
        The paths of the files.

    Raises:
        InputError: one of the files already exists, the folder cannot be written, or the language is unknown.
    """
    return handout.write_files(Path(folder), language)


def check(
    given: str | Path | Callable[..., Any] | Any,
    exercise: str | Iterable[str] | None = None,
    language: str | None = None,
) -> Results:
    """Check answers to the exercises.

    Args:
        given: the path of a student's file, whose exercises are checked in separate processes; or a class, function or
            network, which is checked in this process.
        exercise: the exercise, such as ``1a``. For a file, one or several exercises; by default all. For a class or
            function, by default the exercise of the same name.
        language: language of the messages; by default that of the student's file or notebook (``LANGUAGE = "ro"``), or
            English.

    Returns:
        The results, printed as a table of what passed and what to look at.

    Raises:
        InputError: there is no such file or exercise.
    """
    if isinstance(given, (str, Path)):
        numbers = [exercise] if isinstance(exercise, str) else exercise or []
        return _check_file(Path(given), exercises.select(numbers), language)
    from cifar_cnn.lab.checking import check_object  # imports torch

    if exercise is None:
        chosen = exercises.named(getattr(given, "__name__", type(given).__name__))
    else:
        chosen = exercises.find(str(exercise))
    stated = getattr(sys.modules.get(getattr(given, "__module__", "")), "LANGUAGE", texts.DEFAULT)
    return Results([check_object(given, chosen)], _known(language or stated))


def _check_file(path: Path, chosen: list[exercises.Exercise], language: str | None) -> Results:
    if path.suffix == ".ipynb":
        raise InputError(f"{path} is a notebook: run its check cells, or copy the answers into a file such as lab.py")
    if path.suffix != ".py" and not path.is_dir():
        raise InputError(f"{path} is not a Python file: its name must end in .py")
    try:
        source = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    tasks = [Task(str(path.resolve()), each.number) for each in chosen]
    outcomes: dict[str, Outcome] = {task.exercise: outcome for task, outcome in check_files(tasks)}
    return Results([outcomes[each.number] for each in chosen], _known(language or texts.language_in(source)))


def _known(language: str) -> str:
    texts.texts(language)
    return language

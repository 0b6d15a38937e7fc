"""The lab as a Jupyter notebook: for each exercise a question, a cell to fill in, its check, and its training."""

import json
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from cifar_cnn.lab.exercises import EXERCISES, Exercise
from cifar_cnn.lab.texts import texts

Skeleton = Callable[[Exercise, str], str]
Cell = tuple[str, str]  # its kind and its source
_MARKDOWN, _CODE = "markdown", "code"


def content(language: str, skeleton: Skeleton, rendered: Callable[..., str]) -> str:
    """The notebook as JSON, in format 4.5.

    Args:
        language: language of the texts.
        skeleton: returns the code to fill in.
        rendered: fills in a template.
    """
    cells: list[dict[str, Any]] = [
        {
            "cell_type": kind,
            "id": f"cell-{number}",
            "metadata": {},
            "source": source.rstrip("\n").splitlines(keepends=True),
            **({"execution_count": None, "outputs": []} if kind == _CODE else {}),
        }
        for number, (kind, source) in enumerate(_cells(language, skeleton, rendered))
    ]
    metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    notebook: dict[str, Any] = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _cells(language: str, skeleton: Skeleton, rendered: Callable[..., str]) -> Iterator[Cell]:
    said, words = texts(language)["notebook"], texts(language)["words"]
    yield _MARKDOWN, f"# {said['title']}\n\n{said['intro']}"
    yield _CODE, rendered("install.py", comment=_comment(said["install"]))
    yield _MARKDOWN, f"## {said['images_title']}\n\n{said['images']}"
    yield _CODE, rendered("images.py", language=language)
    for each in EXERCISES:
        text = texts(language)["exercises"][each.number]
        shapes = f"- {words['input']}: {text['input']}\n- {words['output']}: {text['output']}"
        yield _MARKDOWN, f"## {each.number}. {text['title']}\n\n{text['question']}\n\n{shapes}"
        yield _CODE, skeleton(each, language)
        yield _CODE, f'# {said["check"]}\nlab.check({each.name}, "{each.number}")'
        if training := _training(each, rendered):
            yield _CODE, f"# {said['train']}\n{training}"
        if text["observe"]:
            yield _MARKDOWN, f"**{words['question']}** {text['observe']}\n\n*{words['answer']}*"
    yield _MARKDOWN, said["compare"]
    yield _CODE, rendered("compare.py")


def _training(exercise: Exercise, rendered: Callable[..., str]) -> str:
    if exercise.number == "5":
        return f'train(Net1a, "{exercise.number}", loss={exercise.name}).curves()'
    if exercise.number == "7":
        return rendered("filters.py")
    return f'train({exercise.name}, "{exercise.number}").curves()' if exercise.config else ""


def _comment(text: str) -> str:
    return textwrap.fill(text, 100, initial_indent="# ", subsequent_indent="# ")

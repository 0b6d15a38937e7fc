"""Write the exercises for students: ``lab.py`` and the notebook ``lab.ipynb``, from the same texts."""

import textwrap
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.files import write, writing_into
from cifar_cnn.lab import notebook
from cifar_cnn.lab.exercises import EXERCISES, Exercise
from cifar_cnn.lab.texts import texts

FILE = "lab.py"
NOTEBOOK = "lab.ipynb"
_WIDTH = 100
_OWN_TEMPLATE = ("4a", "5", "7")  # the others are networks


def write_files(folder: Path, language: str) -> list[Path]:
    """Write both files.

    Raises:
        InputError: see :func:`cifar_cnn.lab.start`.
    """
    contents = {FILE: module(language), NOTEBOOK: notebook.content(language, skeleton, rendered)}
    if existing := [folder / name for name in contents if (folder / name).exists()]:
        raise InputError(f"{existing[0]} already exists: choose another folder")
    return write_all(folder, contents)


def write_all(folder: Path, contents: dict[str, str]) -> list[Path]:
    """Write files, given by name, into a folder, which is created if it is missing; return their paths.

    Raises:
        InputError: the folder cannot be written.
    """
    with writing_into(folder):
        for name, content in contents.items():
            write(folder / name, content)
    return [folder / name for name in contents]


def module(language: str) -> str:
    """The content of ``lab.py``."""
    known = texts(language)
    words, said = known["words"], known["file"]
    entries = []
    for each in EXERCISES:
        text = known["exercises"][each.number]
        observe = _filled(f"{words['question']} {text['observe']}", "# ") if text["observe"] else ""
        code = skeleton(each, language, with_question=True)
        entries.append({"number": each.number, "title": text["title"], "observe": observe, "code": code})
    head, train = _filled(said["head"]), _filled(said["train"])
    title = known["notebook"]["title"]
    return rendered("lab.py", title=title, head=head, train=train, language=language, words=words, exercises=entries)


def skeleton(exercise: Exercise, language: str, with_question: bool = False) -> str:
    """The class or function to fill in.

    Args:
        exercise: the exercise.
        language: language of its docstring.
        with_question: use the question and the shapes as the docstring, rather than the title.
    """
    known = texts(language)
    text, words = known["exercises"][exercise.number], known["words"]
    doc = f"{text['title']}."
    if with_question:
        shapes = [f"    {words[each]}: {text[each]}" for each in ("input", "output")]
        question = _filled(text["question"], "    ", before=len('"""')).strip()
        doc = "\n".join([question, "", *shapes, "    "])
    template = exercise.number if exercise.number in _OWN_TEMPLATE else "network"
    return rendered(f"{template}.py", name=exercise.name, number=exercise.number, doc=doc)


def rendered(template: str, **values: Any) -> str:
    """A template with its values filled in."""
    environment = Environment(
        loader=PackageLoader("cifar_cnn.lab"),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(f"{template}.j2").render(**values)


def _filled(text: str, indent: str = "", before: int = 0) -> str:
    """Wrap text to lines of ``_WIDTH`` characters, of which ``before`` are already taken in the first line."""
    first = indent + "-" * before
    lines = textwrap.wrap(text, _WIDTH, initial_indent=first, subsequent_indent=indent, break_on_hyphens=False)
    return "\n".join([indent + lines[0][len(first) :], *lines[1:]])

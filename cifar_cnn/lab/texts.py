"""The texts of the lab in each language: one YAML file holds the questions and the hints."""

import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.tables import printable
from cifar_cnn.lab.findings import Finding

LANGUAGES = ("en", "ro")
DEFAULT = "en"
_EMPTY = re.compile(r" \[\]$| \([^()`]*``\)")  # left by an empty {line} or {after}


@cache
def texts(language: str) -> dict[str, Any]:
    """All texts of a language, as in its file.

    Raises:
        InputError: there are no texts in this language.
    """
    if language not in LANGUAGES:
        raise InputError(f"there are no texts in the language {language!r}; there are {' and '.join(LANGUAGES)}")
    return yaml.safe_load((files("cifar_cnn.lab") / "texts" / f"{language}.yaml").read_text(encoding="utf-8"))


def sentence(found: Finding, language: str) -> str:
    """A finding as one line."""
    known = texts(language)
    values = {name: _printed(value) for name, value in found.values.items()}
    if "place" in values:
        values["place"] = known["places"][values["place"]]
    return _EMPTY.sub("", known["hints"][found.key].format(**values))


def sentences(found: Iterable[Finding], language: str) -> list[str]:
    """Findings as lines; a finding that ends with a colon is joined to the next one."""
    said: list[str] = []
    for each in found:
        text = sentence(each, language)
        if said and said[-1].endswith(":"):
            said[-1] += f" {text}"
        else:
            said.append(text)
    return said


def language_in(source: str) -> str:
    """The language that a student's file states, as ``LANGUAGE = "ro"``; English without such a line."""
    stated = re.search(r"^LANGUAGE\s*=\s*[\"'](\w+)[\"']", source, re.MULTILINE)
    return stated[1] if stated and stated[1] in LANGUAGES else DEFAULT


def _printed(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return f"({', '.join(map(str, value))}{',' * (len(value) == 1)})"
    return printable(value) if isinstance(value, str) else value

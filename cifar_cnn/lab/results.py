"""The outcomes of a check as a table for the terminal and for a notebook."""

import shutil
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from cifar_cnn.lab.exercises import find
from cifar_cnn.lab.findings import Outcome
from cifar_cnn.lab.texts import sentences, texts

_WIDEST = 120
_COLORS = {"passed": "#2e7d32", "failed": "#c62828", "todo": "#757575"}


@dataclass(frozen=True)
class Results:
    """The results of a check, shown as a table; in a notebook, with colors.

    Attributes:
        outcomes: one for each exercise.
        language: language of the texts.
    """

    outcomes: Sequence[Outcome]
    language: str = "en"

    @property
    def passed(self) -> bool:
        """Whether all exercises passed."""
        return self.count == len(self.outcomes)

    @property
    def count(self) -> int:
        """How many exercises passed."""
        return sum(each.status == "passed" for each in self.outcomes)

    def hints(self, exercise: str) -> list[str]:
        """The hints for an exercise, most important first."""
        (outcome,) = (each for each in self.outcomes if each.exercise == exercise)
        return sentences(outcome.findings, self.language)

    def __str__(self) -> str:
        words = texts(self.language)["words"]
        rows = [(words["exercise"], words["result"], [words["look"]]), *self._rows()]
        width, state = (max(len(row[column]) for row in rows) + 2 for column in (0, 1))
        lines = []
        for title, status, hints in rows:
            start = f"{title:<{width}}{status:<{state}}"
            lines += _wrapped(start, hints, min(shutil.get_terminal_size().columns, _WIDEST)) or [start.rstrip()]
        return "\n".join([*lines, "", self.summary])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        words = texts(self.language)["words"]
        heads = "".join(
            f"<th style='text-align:left'>{escape(words[each])}</th>" for each in ("exercise", "result", "look")
        )
        rows = "".join(
            f"<tr><td style='text-align:left'>{escape(title)}</td>"
            f"<td style='text-align:left;color:{_colour(words, status)}'><b>{escape(status)}</b></td>"
            f"<td style='text-align:left'>{'<br>'.join(map(escape, hints))}</td></tr>"
            for title, status, hints in self._rows()
        )
        return f"<table><tr>{heads}</tr>{rows}</table><p>{escape(self.summary)}</p>"

    def _rows(self) -> Iterator[tuple[str, str, list[str]]]:
        """Title, status and hints of each exercise; a single row for a file that cannot be imported."""
        words = texts(self.language)["words"]
        broken = [each for each in self.outcomes if not each.imported]
        if broken and len(broken) == len(self.outcomes) > 1:
            yield words["all"], words["failed"], sentences(broken[0].findings, self.language)
            return
        for each in self.outcomes:
            title = f"{each.exercise:<3} {find(each.exercise).name}"
            yield title, words[each.status], sentences(each.findings, self.language)

    @property
    def summary(self) -> str:
        """How many exercises passed, as text."""
        return texts(self.language)["words"]["summary"].format(passed=self.count, count=len(self.outcomes))


def _wrapped(start: str, hints: list[str], width: int) -> list[str]:
    indent = " " * len(start)
    lines = [
        line for hint in hints for line in textwrap.wrap(hint, max(width - len(start), 40), break_on_hyphens=False)
    ]
    return [(start if at == 0 else indent) + line for at, line in enumerate(lines)]


def _colour(words: dict[str, str], status: str) -> str:
    return next(color for name, color in _COLORS.items() if words[name] == status)

"""What a check has found, as a key and values: :mod:`cifar_cnn.lab.texts` turns it into a sentence of a language."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["passed", "failed", "todo"]


@dataclass(frozen=True)
class Finding:
    """Something to look at.

    Attributes:
        key: of the text.
        values: what the text names.
    """

    key: str
    values: dict[str, Any] = field(default_factory=dict)


def finding(key: str, **values: Any) -> Finding:
    """A finding with the values that its text names."""
    return Finding(key, values)


@dataclass(frozen=True)
class Outcome:
    """The outcome of one exercise.

    Attributes:
        exercise: its number.
        status: ``passed``, ``failed``, or ``todo`` for an exercise that has not been started.
        findings: what to look at, the most important first; empty unless ``failed``.
        imported: whether the student's file could be imported at all.
    """

    exercise: str
    status: Status
    findings: tuple[Finding, ...] = ()
    imported: bool = True


_MOST = 3  # findings at a time: more would not be read
_INTRODUCTIONS = ("in_block", "shortcut", "block_of_other_channels", "block_of_other_shape")


def limited(found: Sequence[Finding]) -> list[Finding]:
    """The first findings, with those that only say what the next one is about."""
    some: list[Finding] = []
    for each in found:
        if sum(one.key not in _INTRODUCTIONS for one in some) == _MOST:
            break
        some.append(each)
    while some and some[-1].key in _INTRODUCTIONS:
        some.pop()
    return some


class Wrong(Exception):
    """Ends a check: what was found so far explains the rest."""

    def __init__(self, *findings: Finding) -> None:
        super().__init__(findings)
        self.findings = findings


class NotDone(Exception):
    """Ends a check: the exercise has not been started."""

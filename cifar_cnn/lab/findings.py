"""The findings of a check, as keys and values: :mod:`cifar_cnn.lab.texts` turns them into sentences."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["passed", "failed", "todo"]


@dataclass(frozen=True)
class Finding:
    """Something to look at.

    Attributes:
        key: key of the text.
        values: the values that the text mentions.
    """

    key: str
    values: dict[str, Any] = field(default_factory=dict)


def finding(key: str, **values: Any) -> Finding:
    """A finding with the values that its text mentions."""
    return Finding(key, values)


@dataclass(frozen=True)
class Outcome:
    """The outcome of one exercise.

    Attributes:
        exercise: its number.
        status: ``passed``, ``failed``, or ``todo`` for an exercise that has not been started.
        findings: the findings, most important first; empty unless ``failed``.
        imported: whether the student's file could be imported at all.
    """

    exercise: str
    status: Status
    findings: tuple[Finding, ...] = ()
    imported: bool = True


_MOST = 3  # findings at a time; students would not read more
_INTRODUCTIONS = ("in_block", "shortcut", "block_of_other_channels", "block_of_other_shape")


def limited(found: Sequence[Finding]) -> list[Finding]:
    """The first findings, including those that only introduce the next one."""
    some: list[Finding] = []
    for each in found:
        if sum(one.key not in _INTRODUCTIONS for one in some) == _MOST:
            break
        some.append(each)
    while some and some[-1].key in _INTRODUCTIONS:
        some.pop()
    return some


class Wrong(Exception):
    """Ends a check because the findings so far explain all others."""

    def __init__(self, *findings: Finding) -> None:
        super().__init__(findings)
        self.findings = findings


class NotDone(Exception):
    """Ends a check because the exercise has not been started."""

"""Text for the terminal without control characters, and tables for the terminal and Markdown."""

import unicodedata
from collections.abc import Collection, Sequence
from typing import Any


def printable(text: str, keep: str = "") -> str:
    r"""Escape control characters, such as ``\x1b``, which could send commands to the terminal.

    Args:
        text: text from any source.
        keep: control characters to keep.
    """
    if text.isprintable():
        return text
    escaped = {each for each in set(text) - set(keep) if unicodedata.category(each) in ("Cc", "Cs")}
    return "".join(each.encode("unicode_escape").decode() if each in escaped else each for each in text)


def printable_values(value: Any) -> Any:
    """Apply :func:`printable` to all strings in plain data; other objects are unchanged."""
    if isinstance(value, str):
        return printable(value)
    if type(value) is dict:
        return {printable_values(key): printable_values(each) for key, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(printable_values, value))
    return value


def aligned(rows: Sequence[Sequence[str]], left: Collection[int], narrowest: int = 0) -> list[list[str]]:
    """Pad the cells of a table so that each column has one width.

    Args:
        rows: the cells of each row, the header included.
        left: indices of the columns that are aligned to the left; the others are aligned to the right.
        narrowest: minimum width of a column.
    """
    widths = [max(narrowest, *map(len, column)) for column in zip(*rows, strict=True)]
    return [
        [
            cell.ljust(width) if index in left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in rows
    ]


def text_table(rows: Sequence[Sequence[str]], left: Collection[int]) -> list[str]:
    """The lines of a table for the terminal; see :func:`aligned`."""
    return ["  ".join(row).rstrip() for row in aligned(rows, left)]


def markdown_table(rows: Sequence[Sequence[str]], left: Collection[int]) -> str:
    """A Markdown table that is aligned as plain text too; see :func:`aligned`. The first row is the header."""
    header, *others = aligned(rows, left, narrowest=3)
    rule = ["-" * len(cell) if i in left else "-" * (len(cell) - 1) + ":" for i, cell in enumerate(header)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *others))

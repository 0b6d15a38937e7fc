"""Text for the terminal: strings without control characters; tables, also for Markdown."""

import unicodedata
from collections.abc import Collection, Sequence
from typing import Any


def printable(text: str, keep: str = "") -> str:
    r"""Text whose control characters are escaped, such as ``\x1b``, with which a terminal is given commands.

    Args:
        text: of any origin.
        keep: control characters that stay.
    """
    if text.isprintable():
        return text
    escaped = {each for each in set(text) - set(keep) if unicodedata.category(each) in ("Cc", "Cs")}
    return "".join(each.encode("unicode_escape").decode() if each in escaped else each for each in text)


def printable_values(value: Any) -> Any:
    """Plain data with all its strings :func:`printable`; other objects stay as they are."""
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

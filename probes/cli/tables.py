"""Tables and sentences for reading on a terminal, no wider than it is."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence

import click

from probes.cli.spelling import spelled

__all__ = ["WIDE", "headings", "paragraph", "plain", "room"]

Rows = Sequence[Sequence[str]]

WIDE = click.option(
    "--wide", is_flag=True, help="All columns and rows, however wide, as where the output is no terminal."
)

_NOTHING = ("", "–")
_NARROWEST = 8


def room(*, wide: bool) -> int | None:
    """How many characters a line may have: the terminal's, or None for as many as it takes."""
    return None if wide or not sys.stdout.isatty() else shutil.get_terminal_size().columns


def plain(rows: Rows, width: int | None = None, *, spare: Sequence[str] = ()) -> str:
    """Columns aligned with spaces, a rule below the heading, which is the first row.

    Settings are spelled as options. Where that is wider than ``width``, columns that say nothing go first, headings
    are broken into lines, columns that can be spared go next, and then what is widest is broken into lines. A line
    below names the columns that went.

    Args:
        rows: of as many cells each.
        width: of a line; None for any.
        spare: headings of the columns that can be spared, in the order in which they go.
    """
    rows = [[spelled(cell) for cell in row] for row in rows]
    if width is None:
        return _aligned(rows, [_length(rows, k) for k in range(len(rows[0]))])
    kept = _kept(rows, width, spare)
    shown = [[row[k] for k in kept] for row in rows]
    going = [rows[0].index(heading) for heading in spare if heading in rows[0]]
    gone = [rows[0][k] for k in going if k not in kept and any(row[k] not in _NOTHING for row in rows[1:])]
    table = _aligned(shown, _widths(shown, width))
    return f"{table}\n(--wide also shows: {', '.join(gone)})" if gone else table


def headings(rows: Rows, width: int | None = None, *, spare: Sequence[str] = ()) -> list[str]:
    """Of the columns that :func:`plain` shows."""
    rows = [[spelled(cell) for cell in row] for row in rows]
    return list(rows[0]) if width is None else [rows[0][k] for k in _kept(rows, width, spare)]


def _kept(rows: Rows, width: int, spare: Sequence[str]) -> list[int]:
    """The columns that stay."""
    kept = list(range(len(rows[0])))
    if _total(rows, kept) > width:
        kept = [k for k in kept if k == 0 or any(row[k] not in _NOTHING for row in rows[1:])]
    for column in [rows[0].index(heading) for heading in spare if heading in rows[0]]:
        if _total(rows, kept) <= width:
            break
        if column in kept:
            kept.remove(column)
    return kept


def paragraph(text: str, width: int | None, *, head: str = "", indent: int = 0) -> str:
    """A sentence after its head, in lines of ``width`` characters; None for one line."""
    text = spelled(text)
    if width is None:
        return head + text
    return textwrap.fill(
        head + text, width, subsequent_indent=" " * indent, break_on_hyphens=False, break_long_words=False
    )


def _length(rows: Rows, column: int) -> int:
    """Of a column as it is, its heading whole."""
    return max(len(row[column]) for row in rows)


def _least(rows: Rows, column: int) -> int:
    """Of a column whose heading is broken into words, and whose cells are whole."""
    words = rows[0][column].split() or [""]
    return max(*map(len, words), *(len(row[column]) for row in rows[1:]), 1)


def _total(rows: Rows, columns: Sequence[int]) -> int:
    return sum(_least(rows, k) for k in columns) + 2 * (len(columns) - 1)


def _widths(rows: Rows, width: int) -> list[int]:
    """For each column what it takes, and where that is too much in all, less for the widest that can be broken."""
    columns = range(len(rows[0]))
    whole = [_length(rows, k) for k in columns]
    if sum(whole) + 2 * (len(whole) - 1) <= width:
        return whole
    widths = [_least(rows, k) for k in columns]
    between = 2 * (len(widths) - 1)
    while sum(widths) + between > width and max(widths) > _NARROWEST:
        widths[widths.index(max(widths))] -= 1
    for k in sorted(columns, key=lambda k: whole[k] - widths[k]):  # headings that fit whole are not broken
        if widths[k] < whole[k] <= widths[k] + width - sum(widths) - between:
            widths[k] = whole[k]
    return widths


def _aligned(rows: Rows, widths: Sequence[int]) -> str:
    lines: list[str] = []
    for k, row in enumerate(rows):
        cells = [_lines(cell, size) for cell, size in zip(row, widths, strict=True)]
        for line in range(max(map(len, cells))):
            parts = (
                (cell[line] if line < len(cell) else "").ljust(size)
                for cell, size in zip(cells, widths, strict=True)
            )
            lines.append("  ".join(parts).rstrip())
        if k == 0:
            lines.append("  ".join("─" * size for size in widths))
    return "\n".join(lines)


def _lines(cell: str, width: int) -> list[str]:
    return (
        textwrap.wrap(cell, width, break_on_hyphens=len(cell.split()) == 1) or [""]
        if len(cell) > width
        else [cell]
    )

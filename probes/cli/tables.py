"""Tables for reading on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from probes.cli.spelling import spelled

__all__ = ["plain"]


def plain(rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned with spaces, a rule below the heading, which is the first row; settings as options."""
    rows = [[spelled(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return "\n".join([lines[0], "  ".join("─" * width for width in widths), *lines[1:]])

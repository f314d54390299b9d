"""The page of a report in Markdown: sentences and tables as they are given, and the figures below them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from figures.report.findings import Findings

__all__ = ["markdown_table", "page"]


def page(findings: Sequence[Findings], pictures: Sequence[Path], folder: Path, *, preface: str) -> str:
    """The whole page.

    Args:
        findings: a part each.
        pictures: files of figures, of which the PNGs are shown.
        folder: where the page will be.
        preface: what to know before reading on.
    """
    parts = ["# Deep relative trust: what was measured"]
    parts += [f"**ALARM** ({one.title}): {line}." for one in findings for line in one.alarms]
    parts.append(preface)
    for one in findings:
        parts += [f"## {one.title}", *one.introduction]
        for heading, explanation, rows in one.sections:
            parts += [f"### {heading}", *([explanation] if explanation else []), markdown_table(rows)]
        if one.warnings:
            parts += ["**Beware:**"]
            parts += ["\n".join(f"* {line}" for line in one.warnings)]
    parts.append("## Figures")
    parts += [f"![{path.stem}]({path.relative_to(folder)})" for path in pictures if path.suffix == ".png"]
    return "\n\n".join(parts) + "\n"


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; the first row is its heading."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])

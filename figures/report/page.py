"""The page of a report in Markdown: sentences and tables as they are given, and the figures with their captions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from figures.report.figures import caption
from figures.report.findings import Findings

__all__ = ["markdown_table", "page"]


def page(findings: Sequence[Findings], pictures: Sequence[Path], folder: Path) -> str:
    """The whole page: alarms, then each network in short, its tables, and the figures.

    Args:
        findings: a part each.
        pictures: files of figures, of which the PNGs are shown.
        folder: where the page will be.
    """
    parts = ["# Deep relative trust: what was measured"]
    parts += [f"**ALARM** ({one.title}): {line}." for one in findings for line in one.alarms]
    explained: set[str] = set()
    for one in findings:
        parts += [f"## {one.title}", *(f"**Beware:** {line}." for line in one.unfinished)]
        parts += ["\n".join(f"* **{word}**: {said}." for word, said in one.in_short)]
        if one.warnings:
            parts += ["**Beware:**", "\n".join(f"* {line}" for line in one.warnings)]
        parts += one.introduction
        for heading, explanation, rows in one.sections:
            told = [explanation] if explanation and explanation not in explained else []
            explained.add(explanation)
            parts += [f"### {heading}", *told, markdown_table(rows)]
    parts.append("## Figures")
    titles = [one.title for one in findings]
    for path in pictures:
        if path.suffix == ".png":
            words = caption(path.stem, titles)
            parts += [f"![{path.stem}]({path.relative_to(folder)})", *([f"*{words}*"] if words else [])]
    return "\n\n".join(parts) + "\n"


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; the first row is its heading."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])

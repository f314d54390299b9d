"""A page in Markdown: for reading as text, and where pages are kept beside code. Curves to choose from are left out."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from figures.report.blocks import (
    Block,
    Chapter,
    Claims,
    Code,
    Curves,
    Items,
    Picture,
    Points,
    Table,
    Words,
)

__all__ = ["markdown_page", "markdown_table"]

_TONES = {"alarm": "**ALARM**: ", "beware": "**Beware:** ", "": ""}


def markdown_page(page: Chapter, folder: Path, width: int | None = None) -> str:
    """The whole page.

    Args:
        page: its title is the page's.
        folder: where the page will be, which pictures are named from.
        width: at which lines of words end; None: a paragraph a line.
    """
    return "\n\n".join(_Writer(folder, width).chapter(page, 1)) + "\n"


@dataclass(frozen=True)
class _Writer:
    folder: Path
    width: int | None

    def chapter(self, chapter: Chapter, level: int) -> list[str]:
        parts = [f"{'#' * level} {chapter.title}"]
        for block in chapter.blocks:
            parts += self.chapter(block, level + 1) if isinstance(block, Chapter) else self.block(block)
        return parts

    def filled(self, text: str, indent: str = "") -> str:
        if self.width is None:
            return text
        return textwrap.fill(text, self.width, subsequent_indent=indent, break_long_words=False)

    def block(self, block: Block) -> list[str]:
        match block:
            case Words(text, tone):
                return [self.filled(_TONES[tone] + text)]
            case Items(lines, beware):
                shown = [self.filled(f"* {line}", "  ") for line in lines]
                together = ["\n".join(shown)] if self.width is None and shown else shown
                return ["**Beware:**"] * beware + together
            case Points(said):
                return ["\n".join(f"* **{word}**: {text}" for word, text in said)] * bool(said)
            case Table(rows) | Claims(_, rows):
                return [markdown_table(rows)]
            case Picture(file, caption):
                return [
                    f"![{file.stem}]({Path(os.path.relpath(file, self.folder)).as_posix()})",
                    *([f"*{caption}*"] if caption else []),
                ]
            case Code(lines):
                return ["```console\n" + "\n".join(f"$ {line}" for line in lines) + "\n```"]
            case Curves():
                return []
            case Chapter():
                return self.chapter(block, 2)


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; the first row is its heading."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])

"""A page's two files: HTML to look at and to send, and the same in Markdown."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from figures.report.blocks import Chapter
from figures.report.html import html_page
from figures.report.markdown import markdown_page
from figures.saving import write_whole

__all__ = ["write_page"]


def write_page(
    page: Chapter,
    stem: Path,
    *,
    words: Callable[[str], str] = str,
    width: int | None = None,
    write: Callable[[Path, bytes], object] = write_whole,
) -> Path:
    """Write it.

    Args:
        page: what is on it.
        stem: folder and name; each file adds its ending.
        words: what becomes of every text before it is shown.
        width: at which lines of Markdown end; None: a paragraph a line.
        write: writes one whole file or none, and raises if it cannot.

    Returns:
        The page in HTML.

    Raises:
        OSError: a picture cannot be read, or a file cannot be written.
    """
    markdown = words(markdown_page(page, stem.parent, width))
    write(stem.with_name(f"{stem.name}.md"), markdown.encode())
    made_by = f"Made by deep-relative-trust {version('deep-relative-trust')}."
    html = stem.with_name(f"{stem.name}.html")
    write(html, html_page(page, words=words, made_by=made_by).encode())
    return html

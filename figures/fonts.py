"""Fonts in PDF files: only what draws their glyphs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fontTools.subset import Options

__all__ = ["fonts_without_shaping"]

_SHAPING = ("GDEF", "GPOS", "GSUB")


@contextmanager
def fonts_without_shaping() -> Iterator[None]:
    """While it is open, fonts are embedded without the tables that tell which glyphs a text takes, and where.

    A PDF has every glyph by its number and place, so that nobody reads them; to take them apart for each font of each
    figure takes longer than to draw it. Where fontTools does not have this list of its own, nothing changes.
    """
    dropped: list[str] = getattr(Options, "_drop_tables_default", [])
    before = list(dropped)
    dropped.extend(_SHAPING)
    try:
        yield
    finally:
        dropped[:] = before

"""A page in HTML: one file that needs nothing else, works from a disk or an e-mail, and asks nothing of any network.

All that is told, names of files and layers too, is text in it, never markup; and a policy of its own (a Content
Security Policy with the scripts' hashes) keeps a browser from running or loading what is not of this package.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from PIL import Image

from figures.report.blocks import Block, Chapter, Curves
from figures.report.curves import curves_of
from figures.report.mathematics import mathml

__all__ = ["html_page"]

MOST_NUMBERS = 400_000
"""Bytes, compressed, of a figure's numbers that a page carries; larger ones stay in their file."""

_STYLES = ("vendored/uPlot.min.css", "templates/page.css")
_SCRIPTS = ("vendored/uPlot.iife.min.js", "templates/numbers.js", "templates/curves.js", "templates/page.js")


def html_page(page: Chapter, *, words: Callable[[str], str] = str, made_by: str = "") -> str:
    """The whole page.

    Args:
        page: its title is the page's; all pictures are read and become part of it.
        words: what becomes of every text before it is shown, such as settings spelled as options.
        made_by: what made it, below all.

    Raises:
        OSError: a picture cannot be read.
    """
    styles, scripts = [Markup(_part(name)) for name in _STYLES], [Markup(_part(name)) for name in _SCRIPTS]
    anchors = {id(chapter): f"part-{number}" for number, chapter in enumerate(_chapters(page))}
    environment = _environment()
    return environment.get_template("page.html").render(
        page=page,
        anchors=anchors,
        styles=styles,
        scripts=scripts,
        policy=_policy(styles, scripts),
        made_by=made_by,
        said=lambda text: _inline(words(text)),
        plain=words,
        unique=_numbered(),
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("figures.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["chapter"] = lambda block: isinstance(block, Chapter)
    environment.filters |= {
        "kind": _kind,
        "id": id,
        "by_group": lambda judged: [
            (name, list(own)) for name, own in groupby(judged, lambda one: one.group)
        ],
        "data_uri": _data_uri,
        "packed": _packed,
        "json": _json,
        "curves": _curves,
        "mathml": _mathml,
    }
    return environment


def _kind(block: Block) -> str:
    return type(block).__name__.lower()


def _numbered() -> Callable[[str], str]:
    """What numbers names that come again, so that a screen reader can tell them apart."""
    seen: Counter[str] = Counter()

    def unique(name: str) -> str:
        seen[name] += 1
        return name if seen[name] == 1 else f"{name} ({seen[name]})"

    return unique


def _mathml(formula: str) -> Markup:
    """A formula typeset; one that cannot be read as it stands."""
    try:
        return Markup(mathml(formula))
    except ValueError:
        return Markup(f"<p><code>{escape(formula)}</code></p>")


def _part(name: str) -> str:
    return (files("figures.report") / name).read_text("utf-8")


def _policy(styles: list[Markup], scripts: list[Markup]) -> str:
    """What a browser may do with the page: show it, and run these scripts."""

    def hashes(parts: list[Markup]) -> str:
        digests = [hashlib.sha256(part.encode()).digest() for part in parts]
        return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)

    return (
        f"default-src 'none'; img-src data:; style-src {hashes(styles)}; script-src {hashes(scripts)};"
        " base-uri 'none'; form-action 'none'"
    )


def _chapters(block: Block) -> Iterator[Chapter]:
    if isinstance(block, Chapter):
        yield block
        for part in block.blocks:
            yield from _chapters(part)


def _inline(text: str) -> Markup:
    """Text with what stands between backticks as code and between stars as emphasis, all else as it is."""
    shown = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text)))
    return Markup(re.sub(r"(?<![\w*])\*([^*<>]+)\*(?![\w*])", r"<em>\1</em>", shown))


def _data_uri(path: Path) -> str:
    """A picture as an address that needs no other file; in 256 colours a third of the size."""
    small = io.BytesIO()
    with Image.open(path) as picture:
        few = picture.convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        few.save(small, "png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(small.getvalue()).decode('ascii')}"


def _packed(path: Path) -> str:
    """A file's bytes for :func:`MOST_NUMBERS`, compressed, in base64; empty where they are too many."""
    packed = gzip.compress(path.read_bytes(), mtime=0)
    return base64.b64encode(packed).decode("ascii") if len(packed) <= MOST_NUMBERS else ""


def _curves(block: Curves) -> list[dict[str, Any]]:
    return [curves_of(network) for network in block.networks]


def _json(value: Any) -> Markup:
    """JSON that no HTML parser takes for markup; what is not finite is not in it."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))

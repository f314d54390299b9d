"""Docstrings are read as they are meant: bars are absolute values, and types stand in annotations alone."""

from __future__ import annotations

import re

from sphinx.application import Sphinx

_BLOCK = r"^(?P<indent> *)[^\n]*::[^\n]*\n(?:\n|(?P=indent) +[^\n]+(?:\n|\Z))*"  # a formula, or text as it is
_LITERAL = re.compile(rf"(?P<literal>{_BLOCK}|^ *(?:>>>|\.\.\.) [^\n]*|``.*?``|`.*?`)|\|", re.S | re.M)
_RETURNS = re.compile(r"^(?P<before>( *)(?:Returns|Yields):\n+\2 +)(?=\S)", re.M)


def as_meant(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Escape bars outside of literals, formulas and examples; a colon in a sentence ends no type.

    Napoleon takes what stands before a colon for a type: in the first line of an attribute, and below Returns.
    """
    text = _RETURNS.sub(r"\g<before>: ", "\n".join(lines))
    text = _LITERAL.sub(lambda found: found["literal"] or "\\|", text)
    lines[:] = text.split("\n")
    if what in ("attribute", "data", "property") and ":" in lines[0]:
        lines[0] = f": {lines[0]}"


def setup(app: Sphinx) -> dict[str, bool]:
    """As Sphinx asks of an extension."""
    app.connect("autodoc-process-docstring", as_meant, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

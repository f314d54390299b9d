"""Mathematics on a page: LaTeX as MathML, which browsers set by themselves, without a script, a font or a network."""

from __future__ import annotations

import html
import re
from xml.etree import ElementTree

from latex2mathml.converter import Converter

__all__ = ["mathml"]

_ELEMENTS = re.compile(
    "math|mfrac|mi|mn|mo|mover|mpadded|mphantom|mroot|mrow|mspace|msqrt|mstyle|msub|msubsup|msup|mtable|mtd|mtext|mtr"
    "|munder|munderover"
)
_ATTRIBUTES = re.compile(
    "accent|columnalign|depth|display|displaystyle|fence|form|height|largeop|linethickness|lspace|mathvariant|maxsize"
    "|minsize|movablelimits|rspace|scriptlevel|separator|stretchy|voffset|width"
)
"""Those that say how mathematics is set: no address, no style, no identity, nothing that a script could find."""
_VALUE = re.compile(r"[\w.+% -]*")
_ARGUMENTS = dict.fromkeys(("mfrac", "mover", "mroot", "msub", "msup", "munder"), 2) | {
    "msubsup": 3,
    "munderover": 3,
}
_DEFINITIONS = re.compile(r"\\(?:newcommand|renewcommand|def|DeclareMathOperator|newenvironment)(?![A-Za-z])")
"""Macros of a macro grow without end."""
_THIN = "0.167em"
_ESCAPED = re.compile(r"\\.")
_UNREAD = re.compile(r"\\.*|[{}$&#]")
"""What comes out of the converter as it went in: commands that it does not know, and what is no mathematics."""


def mathml(formula: str, *, block: bool = True) -> str:
    r"""A formula in MathML, ready for a page of HTML: whatever its text says, it is text there.

    Args:
        formula: LaTeX's mathematics, without dollars: ``\frac{a}{b} \le 1``; lines are parted by ``\\``.
        block: whether it stands by itself on a line, with limits under its sums; else within one.

    Returns:
        One ``<math>`` element.

    Raises:
        ValueError: it cannot be read, or asks for what is no mathematics: a link, a style, a macro.
    """
    try:
        _check_latex(formula)
        element = Converter(display="block" if block else "inline").convert_to_element(_in_lines(formula))
        for one in element.iter():
            _check(one)
            _set(one)
        del element.attrib["xmlns"]  # HTML needs none, and a page without any address is easily proved
        # not the converter's own text: it undoes the escaping
        return ElementTree.tostring(element, encoding="unicode", short_empty_elements=False)
    except Exception as error:  # the converter has many of its own, and lets IndexError and others through
        told = f": {error}" if str(error) else ""
        raise ValueError(f"this formula cannot be set{told}: {formula}") from error


def _check_latex(formula: str) -> None:
    if not formula.strip():
        raise ValueError("it is empty")
    if found := _DEFINITIONS.search(formula):
        raise ValueError(f"{found[0]} is not taken")
    plain = _ESCAPED.sub("", formula)
    if plain.count("{") != plain.count("}"):
        raise ValueError("its braces do not match")


def _in_lines(formula: str) -> str:
    """Browsers break no formula, and set the rows of a table."""
    parted = r"\\" in formula and r"\begin" not in formula
    return rf"\begin{{array}}{{c}} {formula} \end{{array}}" if parted else formula


def _check(element: ElementTree.Element) -> None:
    if not _ELEMENTS.fullmatch(element.tag):
        raise ValueError(f"<{element.tag}> is not taken")
    if len(element) != _ARGUMENTS.get(element.tag, len(element)):
        raise ValueError("something is missing in it")
    for name, value in element.attrib.items():
        if name != "xmlns" and not (_ATTRIBUTES.fullmatch(name) and _VALUE.fullmatch(value)):
            raise ValueError(f"{name}={value!r} is not taken")
    if element.tag != "mtext" and _UNREAD.fullmatch(element.text or ""):
        raise ValueError(f"what is {element.text}?")


def _set(element: ElementTree.Element) -> None:
    """Characters for the converter's references to them, and spaces as TeX has them where browsers have others."""
    element.text = html.unescape(element.text or "") or None
    if element.tag == "mtable":
        element.set("displaystyle", "true")  # a browser's tables are set small
    elif element.tag in ("mi", "mo") and element.text:
        if len(element.text) > 1 and element.text.isalpha():  # max, cos
            element.tag = "mo"
            element.attrib.update(form="prefix", lspace=_THIN, rspace=_THIN)
        elif element.text == "|" and "form" not in element.attrib:
            element.attrib.update(lspace="0", rspace="0")

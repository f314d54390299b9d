"""Every claim's formula says what its statement says."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from analysis.documents import claim_rows
from figures.report.mathematics import mathml
from trust.claims import Claim, all_claims

CLAIMS = all_claims()
_WORDS = re.compile(
    r"(?<!\w)(?!(?:max|min|cos)\b)(?:[a-z]{2,}|[A-Z][a-z]{2,}|[A-Z]{3,})(?:['-][a-z]+)*'?(?!\w)"
)
_RELATIONS = "≤<=≈∝"
_SILENT = re.compile(r"[\s()\[\]{},:;.^_/·⋯`⁄]")
"""What a line of text needs and set mathematics does not, or the other way round."""


def symbols(text: str) -> str:
    """The mathematics of a text, one symbol after another, in one spelling of each."""
    text = re.sub(r"\bnear\b|\bagainst\b", "≈", text)
    text = unicodedata.normalize("NFKD", _WORDS.sub(" ", text))
    spelled = {"\u0303": "~", "'": "′", "Σ": "∑", "\u2212": "−", "-": "−"}
    return _SILENT.sub("", text.translate(str.maketrans(spelled)))


def from_left_to_right(element: ElementTree.Element) -> str:
    """The text of MathML, with the roots that it draws."""
    own = "√" * (element.tag == "msqrt") + (element.text or "")
    return " ".join([own, *map(from_left_to_right, element)])


def in_formula(claim: Claim) -> str:
    return symbols(from_left_to_right(ElementTree.fromstring(mathml(claim.formula))))


def says_the_same(claim: Claim) -> bool:
    """Whether the formula is a stretch of the statement, or of what is measured, with every relation that is there."""
    formula = in_formula(claim)
    for text in (symbols(claim.statement), symbols(claim.left)):
        before, found, behind = text.partition(formula)
        if found and not set(_RELATIONS) & set(before + behind):
            return True
    return False


def test_symbols_are_read_alike_in_a_line_and_set() -> None:
    claim = CLAIMS["theorem1-function-injective"]
    assert in_formula(claim) == symbols(claim.statement) == "‖f~x−fx‖‖fx‖≤βκ2αL∏k1+rk−1κ=maxmin‖Wx‖‖x‖"


@pytest.mark.parametrize("id", CLAIMS)
def test_a_formula_says_what_its_statement_says(id: str) -> None:
    assert says_the_same(CLAIMS[id]), f"{in_formula(CLAIMS[id])} is not in {symbols(CLAIMS[id].statement)}"


@pytest.mark.parametrize(
    ("id", "said", "instead"),
    [
        ("theorem1-function", "^L", "^{L - 1}"),
        ("theorem1-function", r"\kappa^2", r"\kappa"),
        ("theorem1-jacobian", "k > l", "k < l"),
        ("deep-relative-trust", r"\le", r"\ge"),
        ("deep-relative-trust", r"\prod", r"\sum"),
        ("lemma1", r"\Delta W_l", "W_l"),
        ("neyshabur", r", \quad \text{if } \rho_k \le 1/L \text{ for all } k", ""),
        ("telescoped", r"\tilde{W}", "W"),
        ("spectral-condition", r"\sqrt", ""),
        ("gd-edge", r"\approx", r"\le"),
    ],
)
def test_a_formula_that_says_something_else_is_seen(id: str, said: str, instead: str) -> None:
    claim = CLAIMS[id]
    assert said in claim.formula
    assert not says_the_same(replace(claim, formula=claim.formula.replace(said, instead)))


def test_a_claim_needs_no_formula() -> None:
    own = Claim(
        id="own",
        source="me",
        statement="a ≤ b",
        left="a",
        measured=CLAIMS["lemma1"].measured,
        bound=CLAIMS["lemma1"].bound,
    )
    assert own.formula == ""
    assert claim_rows([own])[0]["formula"] == ""

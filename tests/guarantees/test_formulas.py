"""Every formula in LaTeX, of a claim or in a docstring, says what the words and symbols beside it say."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import unicodedata
from dataclasses import replace
from xml.etree import ElementTree

import pytest

import trust
from analysis.documents import claim_rows
from figures.report.mathematics import mathml
from trust.claims import Claim, all_claims

CLAIMS = all_claims()
_MATH = re.compile(r"\.\. math::(.*?)(?:\n\n|\Z)", re.DOTALL)
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


def set_symbols(formula: str) -> str:
    return symbols(from_left_to_right(ElementTree.fromstring(mathml(formula))))


def documented() -> dict[str, str]:
    """The docstrings of `trust` with mathematics in them, by the names of what they document."""
    found = {}
    for info in pkgutil.walk_packages(trust.__path__, "trust."):
        for name, value in vars(importlib.import_module(info.name)).items():
            text = inspect.getdoc(value) if callable(value) else None
            if text and _MATH.search(text) and value.__module__ == info.name:
                found[f"{info.name}.{name}"] = text
    return found


DOCUMENTED = documented()


def says_the_same(claim: Claim) -> bool:
    """Whether the formula is a stretch of the statement, or of what is measured, with every relation that is there."""
    formula = set_symbols(claim.formula)
    for text in (symbols(claim.statement), symbols(claim.left)):
        before, found, behind = text.partition(formula)
        if found and not set(_RELATIONS) & set(before + behind):
            return True
    return False


def test_symbols_are_read_alike_in_a_line_and_set() -> None:
    claim = CLAIMS["theorem1-function-injective"]
    assert (
        set_symbols(claim.formula) == symbols(claim.statement) == "‖f~x−fx‖‖fx‖≤βκ2αL∏k1+rk−1κ=maxmin‖Wx‖‖x‖"
    )


@pytest.mark.parametrize("id", CLAIMS)
def test_a_formula_says_what_its_statement_says(id: str) -> None:
    claim = CLAIMS[id]
    assert says_the_same(claim), f"{set_symbols(claim.formula)} is not in {symbols(claim.statement)}"


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


@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_mathematics_of_a_docstring_is_in_its_words_too(name: str) -> None:
    words = symbols(_MATH.sub("\n", DOCUMENTED[name]))
    for formula in _MATH.findall(DOCUMENTED[name]):
        assert set_symbols(formula) in words


def test_what_implements_a_theorem_shows_it() -> None:
    shown = {name.rpartition(".")[2] for name in DOCUMENTED}
    # steps and bounds whose theorem is in their module's docstring
    elsewhere = {"log10_deep_relative_trust", "log10_lemma2_step_limit", "loss_rise_bound"}
    stated = {
        name for name in trust.__all__ if re.search("bound|limit|_edge|lipschitz|trust|path_norm", name)
    }
    assert stated - elsewhere <= shown


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

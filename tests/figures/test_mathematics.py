"""Formulas as MathML: what a browser sets, and nothing that it would run, follow or be led by."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from figures.report.mathematics import mathml


def test_a_formula_is_one_element_of_mathml() -> None:
    assert mathml(r"\frac{a}{\tilde{f}} \le 1") == (
        '<math display="block"><mrow><mfrac><mrow><mi>a</mi></mrow>'
        '<mrow><mover><mrow><mi>f</mi></mrow><mo stretchy="false">~</mo></mover></mrow></mfrac>'
        "<mo>≤</mo><mn>1</mn></mrow></math>"
    )


def test_within_a_line_limits_stand_beside_their_sum() -> None:
    assert "munder" in mathml(r"\sum_k r_k")
    inline = mathml(r"\sum_k r_k", block=False)
    assert 'display="inline"' in inline
    assert "munder" not in inline


def test_lines_are_rows_of_full_size() -> None:
    found = mathml(r"a \le b, \\ b = \sum_k c_k")
    assert found.count("<mtr>") == 2
    assert '<mtable displaystyle="true">' in found
    assert "munder" in found


def test_functions_and_bars_stand_as_tex_has_them() -> None:
    assert mathml(r"|x| \cos\theta", block=False) == (
        '<math display="inline"><mrow><mo stretchy="false" lspace="0" rspace="0">|</mo><mi>x</mi>'
        '<mo stretchy="false" lspace="0" rspace="0">|</mo>'
        '<mo form="prefix" lspace="0.167em" rspace="0.167em">cos</mo><mi>θ</mi></mrow></math>'
    )


def test_what_looks_like_markup_is_text() -> None:
    found = mathml(r"\text{<script>alert(1)</script> & \"} < \mathrm{x}")
    assert "<script" not in found
    text = "".join(ElementTree.fromstring(found).itertext()).replace("\N{NO-BREAK SPACE}", " ")
    assert text == r"<script>alert(1)</script> & \"<x"


def test_references_to_characters_do_not_become_markup() -> None:
    found = mathml(r"\text{&lt;img src=x&gt; &#60;b&#62;}")
    assert not re.search(r"<(?:img|b)\b", found)


@pytest.mark.parametrize(
    ("formula", "why"),
    [
        (r"\href{https://example.org}{a}", "href='https://example.org' is not taken"),
        (r"\href{javascript:alert(1)}{a}", "href='javascript:alert(1)' is not taken"),
        (r"\style{position:fixed}{a}", "style="),
        (r"\class{b}{a}", "class="),
        (r"\textcolor{red}{a}", "mathcolor="),
        (r"\hspace{\text{url(x)}} a", "width="),
        (r"\newcommand{\a}{aaaa} \a", r"\newcommand is not taken"),
        (r"\def\a{aaaa} \a", r"\def is not taken"),
        (r"a \le \nonsense", r"what is \nonsense?"),
        (r"\frac{a}{b", "braces"),
        (r"a}{b", "what is }?"),
        (r"a}", "braces"),
        (r"a_b_c", r"cannot be set: a_b_c"),
        (r"\left( a", r"cannot be set: \left( a"),
        (r"\frac{a}", "something is missing"),
        (r"$a$", "what is $?"),
        (r"a & b", "what is &?"),
        ("{" * 5000 + "}" * 5000, "recursion"),
        (" ", "it is empty"),
    ],
)
def test_what_is_no_mathematics_is_refused_by_name(formula: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)) as caught:
        mathml(formula)
    assert formula in str(caught.value)

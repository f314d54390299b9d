"""What a notebook shows of verdicts and findings: their tables, and of what comes from outside the text alone."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd
import pytest

from analysis import Verdicts, find, judge, table
from analysis.tables import limits_table, verdict_table
from tests.analysis.test_findings import run


class Cells(HTMLParser):
    """The text of each cell, and every tag."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.text = ""
        self.tags: set[str] = set()
        self._in_cell = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        self._in_cell = tag in ("td", "th")
        if self._in_cell:
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._in_cell:
            self.cells[-1] += data


PLAIN = {"table", "thead", "tbody", "tr", "th", "td", "ul", "li", "h3", "p", "b"}


def flat(rows: object) -> list[str]:
    return [cell for row in rows for cell in row]  # type: ignore[attr-defined]


def test_verdicts_are_a_list_that_is_shown_as_its_table() -> None:
    verdicts = judge(run(), ["lemma2", "deep-relative-trust"])
    assert isinstance(verdicts, list)
    assert verdicts == [*verdicts]
    shown = Cells(verdicts._repr_html_())
    assert shown.cells == flat(verdict_table(verdicts))
    assert shown.tags <= PLAIN
    pd.testing.assert_frame_equal(verdicts.to_pandas(), table(verdicts))


def test_claims_of_which_nothing_is_said_are_named_below() -> None:
    verdicts = judge(run())
    shown = Cells(verdicts._repr_html_())
    assert "not measured (" in shown.text
    assert "pattern-telescoped" in shown.text
    assert "pattern-telescoped" not in shown.cells


def test_findings_are_shown_with_verdicts_and_limits() -> None:
    found = find(run(), title="<script>alert('a net')</script> & more", claims=["lemma2"])
    shown = Cells(found._repr_html_())
    assert shown.tags <= PLAIN
    assert "<script>alert('a net')</script> & more" in shown.text
    tables = flat(verdict_table(found.verdicts)) + flat(limits_table(found.limits))
    assert [cell.strip() for cell in shown.cells] == tables
    for _, sentence in found.in_short:
        assert sentence in shown.text


@pytest.mark.parametrize("text", ["<img src=x onerror=alert(1)>", '"><b>', "&lt;"])
def test_what_comes_from_outside_is_text(text: str) -> None:
    (verdict, *_) = judge(run(), ["lemma2"])
    shown = Cells(Verdicts([replace(verdict, claim=text, remark=text)])._repr_html_())
    assert text in shown.cells
    assert shown.tags <= PLAIN

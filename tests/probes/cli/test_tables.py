"""Tables and sentences are no wider than the terminal, and lose nothing that is not said to be lost."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.explained import SLACK_BRIEFLY
from probes.cli.reports import findings_in, limits_shown, self_check_lines, terminal_summary
from probes.cli.tables import paragraph, plain, room
from tests.conftest import Probe

ROWS = [
    ["claim", "what was found out", "nothing", "number"],
    ["deep-relative-trust", "off by a factor of 44 to 88 at every checkpoint there is", "–", "1.5"],
    ["lemma1", "holds", "", "22"],
]


def widest(text: str) -> int:
    return max(map(len, text.splitlines()))


def test_without_a_width_everything_is_there() -> None:
    heading, rule, first, second = plain(ROWS).splitlines()
    assert heading.split() == ["claim", "what", "was", "found", "out", "nothing", "number"]
    assert set(rule) == {"─", " "}
    assert first.endswith("1.5")
    assert second.split() == ["lemma1", "holds", "22"]


@pytest.mark.parametrize("width", [30, 45, 60, 80, 200])
def test_it_fits_and_every_word_is_there(width: int) -> None:
    text = plain(ROWS, width)
    assert widest(text) <= width
    words = " ".join(text.split())
    for cell in ("44", "checkpoint", "22", "1.5", "lemma1"):
        assert cell in words
    assert ("nothing" in words) is (width == 200)  # a column that says nothing goes first


def test_columns_that_can_be_spared_go_in_order_and_are_named() -> None:
    text = plain(ROWS, 60, spare=("number", "what was found out"))
    assert widest(text) <= 60
    assert text.splitlines()[-1] == "(--wide also shows: number, what was found out)"
    assert "number" not in text.splitlines()[0]
    assert "--wide" not in plain(ROWS, 200, spare=("number",))


def test_a_sentence_is_broken_between_words() -> None:
    text = paragraph("one two three-four five", 14, head="WARNING: ", indent=2)
    assert text.splitlines() == ["WARNING: one", "  two", "  three-four", "  five"]
    assert paragraph("one two", None, head="x: ") == "x: one two"


def test_the_terminal_says_how_wide_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Screen:
        def isatty(self) -> bool:
            return True

    assert room(wide=False) is None  # here the output is no terminal
    monkeypatch.setattr(sys, "stdout", Screen())
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((93, 20)))
    found = room(wide=False), room(wide=True)
    monkeypatch.undo()
    assert found == (93, None)


@pytest.mark.parametrize("width", [80, 120])
def test_a_report_fits(measured: Path, width: int) -> None:
    found = findings_in(measured)
    for text in (
        terminal_summary(found, width),
        limits_shown(found.limits, width),
        self_check_lines(found.checks, width),
    ):
        assert widest(text) <= width
    narrow = terminal_summary(found, width).splitlines()
    assert narrow[0] == "── 3 layers ──"
    assert [line.split(":")[0].strip() for line in narrow[1:] if line[:11].strip().endswith(":")][:5] == [
        "probed",
        "holds",
        "breaks",
        "safe step",
        "how sure",
    ]


def test_only_columns_that_are_shown_are_explained(measured: Path) -> None:
    found = findings_in(measured)
    assert found.slack is not None
    slack = found.slack.copy(deep=True)
    causes = slack["cause"].values
    nothing = slack["cause"].isin(["alignment", "one worst κ"])  # as of convolutions
    slack["share"] = slack["share"].where(~nothing)
    explanations = {width: terminal_summary(replace(found, slack=slack), width) for width in (60, None)}
    for name, said in SLACK_BRIEFLY.items():
        shown = f"{name}: {said}"
        narrow = " ".join(explanations[60].split())
        assert (shown in narrow) == (name in ("data-independent norms", "conditioning and α")), name
        assert (shown in explanations[None]) == (name in causes), name
    assert "inactive units" not in causes  # which needs --pattern


def test_wide_shows_every_claim_and_checkpoint_by_its_name(
    probe: Probe, measured: Path, tmp_path: Path
) -> None:
    given: tuple[Any, ...] = ("report", measured, "--out", tmp_path / "r", "--format", "png")
    text = probe(*given, "--wide").output
    found = findings_in(measured)
    for claim in {one.claim for one in found.verdicts}:
        assert any(line.startswith(f"{claim} ") for line in text.splitlines()), claim
    assert all(str(label) in text for label in found.measurements["checkpoint"].values)
    assert "C: the breakdown" in text
    page = (tmp_path / "r" / "report.md").read_text("utf-8")
    assert page.index("* **probed**") < page.index("* **how sure**") < page.index("### Verdicts")
    assert "*alignment*: the largest singular values" in page
    assert (tmp_path / "r" / "constants-3-layers.png").is_file()
    titled = probe(*given, "--title", "My own").output
    assert titled.startswith("── My own ──")
    assert (tmp_path / "r" / "constants-my-own.png").is_file()

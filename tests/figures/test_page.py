"""The page of a report: what it is given, in Markdown, and the pictures that there are."""

from dataclasses import replace

from figures.report.page import markdown_table, page
from tests.figures.examples import network


def test_everything_given_is_on_it_and_nothing_else(tmp_path):
    rows = [["a", "b"], ["1|2", "–"]]
    one = replace(network("2 layers"), introduction=("One.", "Two."), sections=(("Tables", "Why.", rows),))
    two = replace(
        network("16 layers"), alarms=("broken",), sections=(("Bare", "", rows),), warnings=("x is above y",)
    )
    pictures = [tmp_path / "f" / name for name in ("a.png", "a.pdf", "a.csv")]
    table = "| a | b |\n| --- | --- |\n| 1\\|2 | – |"
    assert markdown_table(rows) == table
    assert page([one, two], pictures, tmp_path, preface="Before.").split("\n\n") == [
        "# Deep relative trust: what was measured",
        "**ALARM** (16 layers): broken.",
        "Before.",
        "## 2 layers",
        "One.",
        "Two.",
        "### Tables",
        "Why.",
        table,
        "## 16 layers",
        "### Bare",
        table,
        "**Beware:**",
        "* x is above y",
        "## Figures",
        "![a](f/a.png)\n",
    ]

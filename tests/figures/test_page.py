"""The page of a report: what it is given, in Markdown, and the pictures that there are."""

from dataclasses import replace

from figures.report.figures import caption, write_report_figures
from figures.report.page import markdown_table, page
from tests.figures.examples import network


def test_everything_given_is_on_it_and_nothing_else(tmp_path):
    rows = [["a", "b"], ["1|2", "–"]]
    short = (("probed", "This"), ("holds", "that"))
    one = replace(
        network("2 layers"),
        in_short=short,
        introduction=("One.", "Two."),
        sections=(("Tables", "Why.", rows), ("More", "What.", rows)),
    )
    two = replace(
        network("16 layers"),
        in_short=short,
        alarms=("broken",),
        sections=(("Bare", "", rows), ("Again", "Why.", rows)),
        warnings=("x is above y",),
    )
    names = ("figure1.png", "figure1.pdf", "slack-16-layers.png", "own.png")
    table = "| a | b |\n| --- | --- |\n| 1\\|2 | – |"
    assert markdown_table(rows) == table
    text = page([one, two], [tmp_path / "f" / name for name in names], tmp_path)
    *parts, picture, first, slack, told, own = text.split("\n\n")
    assert parts == [
        "# Deep relative trust: what was measured",
        "**ALARM** (16 layers): broken.",
        "## 2 layers",
        "* **probed**: This.\n* **holds**: that.",
        "One.",
        "Two.",
        "### Tables",
        "Why.",
        table,
        "### More",
        "What.",
        table,
        "## 16 layers",
        "* **probed**: This.\n* **holds**: that.",
        "**Beware:**",
        "* x is above y",
        "### Bare",
        table,
        "### Again",  # what was explained is not explained again
        table,
        "## Figures",
    ]
    assert picture == "![figure1](f/figure1.png)"
    assert slack == "![slack-16-layers](f/slack-16-layers.png)"
    assert own == "![own](f/own.png)\n"
    assert first.startswith("*Each curve is a frozen checkpoint")
    assert told.startswith("*16 layers. Where the bounds lose")
    assert "Alignment" in told


def test_every_figure_of_a_report_has_a_caption(tmp_path):
    one = network("16 layers, residual")
    written = write_report_figures(tmp_path, [one], formats=[])
    for path in written:
        said = caption(path.stem, [one.title])
        assert said, path
        assert said.startswith(one.title) or path.stem in ("figure1", "limits")
    assert caption("slack-of-mine", [one.title]) == ""

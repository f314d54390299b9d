"""The page of a report: what it is given, in Markdown and in HTML, the pictures, and the curves that it carries."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import analysis.findings
from figures.report import html
from figures.report.blocks import (
    Block,
    Chapter,
    Claims,
    Code,
    Curves,
    Items,
    Picture,
    Points,
    Table,
    Words,
)
from figures.report.chapters import PICTURES, VERDICTS, network_chapters
from figures.report.curves import MOST_VALUES, curves_of
from figures.report.figures import caption, kind_of, write_report_figures
from figures.report.html import html_page
from figures.report.markdown import markdown_page, markdown_table
from figures.report.pages import write_page
from tests.figures.examples import network

NASTY = "<script>alert('1')</script>\"&\\"


@dataclass(frozen=True)
class Judged:
    """A claim and its outcome, made up."""

    claim: str = "mine"
    kind: str = "theorem"
    group: str = "What holds"
    words: str = "holds (2)"
    statement: str = "‖a‖ ≤ ‖b‖"
    formula: str = r"\|a\| \le \|b\|"
    measures: str = "a"
    source: str = "somebody"
    proved: bool = True
    premises: Sequence[tuple[str, str, str]] = (("chain", "it is one", "holds"),)
    why: str = "because"
    checkpoints: Sequence[Sequence[str]] = (("checkpoint", "verdict"), ("epoch-00", "holds"))


def picture(folder: Path, name: str = "figure1", numbers: str = "x,y\n1,2\n") -> Picture:
    file, csv = folder / f"{name}.png", folder / f"{name}.csv"
    Image.new("RGB", (4, 3), (1, 115, 178)).save(file)
    csv.write_text(numbers, "utf-8")
    return Picture(file, "What is seen.", csv)


class Read(HTMLParser):
    """A page as a browser takes it apart: its elements, and its text outside scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.code: dict[str, list[str]] = {"script": [], "style": []}
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in self.code:
            self._inside = tag
            self.code[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.code[self._inside][-1] += data
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def every_block(folder: Path) -> list[Block]:
    rows = [["a", "b"], ["1|2", "–"]]
    return [
        Words("Plain with `code` and *stress*."),
        Words("broken", "alarm"),
        Words("not done", "beware"),
        Items(["one", "two"]),
        Items(["odd"], beware=True),
        Points([("probed", "This.")]),
        Table(rows, "a table"),
        picture(folder),
        Claims([Judged(), Judged(claim="other", formula="", group="What fails")], rows),
        Curves([network()]),
        Code(["probe report 'a b'"]),
        Chapter("Below", [Chapter("Deeper", [Words("end")])], folded=True),
    ]


def test_markdown_says_every_block_in_order(tmp_path):
    (tmp_path / "f").mkdir()
    text = markdown_page(Chapter("Page", every_block(tmp_path / "f")), tmp_path)
    table = "| a | b |\n| --- | --- |\n| 1\\|2 | – |"
    assert text.rstrip("\n").split("\n\n") == [
        "# Page",
        "Plain with `code` and *stress*.",
        "**ALARM**: broken",
        "**Beware:** not done",
        "* one\n* two",
        "**Beware:**",
        "* odd",
        "* **probed**: This.",
        table,
        "![figure1](f/figure1.png)",
        "*What is seen.*",
        table,
        "```console\n$ probe report 'a b'\n```",
        "## Below",
        "### Deeper",
        "end",
    ]
    assert markdown_table([["a", "b"], ["1|2", "–"]]) == table


def test_markdown_names_pictures_from_where_the_page_is(tmp_path):
    (tmp_path / "study").mkdir()
    page = Chapter("Page", [picture(tmp_path / "study")])
    assert "](../study/figure1.png)" in markdown_page(page, tmp_path / "report")


def test_markdown_of_a_width_has_no_longer_lines_but_for_tables(tmp_path):
    words = " ".join(["word"] * 40)
    page = Chapter("Page", [Words(words), Items([words])])
    lines = markdown_page(page, tmp_path, width=60).splitlines()
    assert max(map(len, lines)) <= 60
    assert " ".join(lines).count("word") == 80
    assert any(line.startswith("  word") for line in lines)  # below its bullet


def test_html_says_every_block(tmp_path):
    page = Read(html_page(Chapter("Page", every_block(tmp_path)), made_by="made by me"))
    for said in ("Plain with code and stress .", "ALARM broken", "Beware not done", "one two", "odd"):
        assert said in page.text
    for said in ("probed This.", "1|2", "What is seen.", "What holds (1)", "What fails (1)", "made by me"):
        assert said in page.text
    for said in ("mine theorem holds (2)", "‖a‖ ≤ ‖b‖", "why because", "somebody; proved under its premises"):
        assert said in page.text
    assert "chain it is one holds" in page.text
    assert "$ probe report 'a b'" in page.text
    assert [name for name, _ in page.elements if re.fullmatch("h[1-6]", name)] == [
        "h1",
        "h2",
        "h2",
        "h2",
        "h3",
    ]
    assert len(page.all("math")) == 1  # the other claim has no formula
    (image,) = page.all("img")
    assert image["alt"]
    targets = {str(link["href"]).removeprefix("#") for link in page.all("a")}
    assert targets <= {str(attributes.get("id")) for _, attributes in page.elements}
    assert len(targets) == 3  # two chapters and the way past the contents


def test_a_formula_that_cannot_be_read_is_shown_as_it_stands(tmp_path):
    page = Read(html_page(Chapter("Page", [Claims([Judged(formula=r"\href{x}{<b>}")], [["a"]])])))
    assert r"\href{x}{<b>}" in page.text
    assert page.all("b") == page.all("math") == []


def test_whatever_is_told_is_text_and_never_markup(tmp_path):
    nasty = Judged(*[NASTY] * 8, True, [(NASTY,) * 3], NASTY, [[NASTY] * 2] * 2)
    curves = replace(network(NASTY), measurements=network().measurements.assign_coords(layer=[NASTY] * 5))
    blocks: list[Block] = [
        Words(NASTY, "alarm"),
        Items([NASTY]),
        Points([(NASTY, NASTY)]),
        Table([[NASTY], [NASTY]], NASTY),
        replace(picture(tmp_path), caption=NASTY),
        Claims([nasty], [[NASTY]]),
        Curves([curves]),
        Code([NASTY]),
        Chapter(NASTY, [Words(f"`{NASTY}` *{NASTY}*")]),
    ]
    written = html_page(Chapter(NASTY, blocks), made_by=NASTY)
    page = Read(written)
    plain = Read(html_page(Chapter("Page", every_block(tmp_path)), made_by="me"))
    assert {name for name, _ in page.elements} <= {name for name, _ in plain.elements}
    names = {name for _, attributes in page.elements for name in attributes}
    assert not [name for name in names if name.startswith("on")]
    assert len(page.code["script"]) == len(plain.code["script"])  # ours, and the curves' numbers
    assert page.text.count("alert(") >= 20
    (numbers,) = (json.loads(text) for text in page.code["script"] if text.startswith("["))
    assert numbers[0]["title"] == NASTY
    assert numbers[0]["layers"] == [NASTY] * 5


def test_the_page_asks_for_nothing_and_runs_its_own_scripts_alone(tmp_path):
    page = Read(html_page(Chapter("Page", every_block(tmp_path))))
    for tag, attributes in page.elements:
        for name in ("src", "href", "action", "data", "srcset", "poster"):
            value = str(attributes.get(name) or "#")
            assert value.startswith(("#", "data:image/png;base64,")), (tag, value)
    (policy,) = (str(one["content"]) for one in page.all("meta") if "http-equiv" in one)
    allowed = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert allowed["default-src"] == allowed["base-uri"] == allowed["form-action"] == "'none'"
    for kind, rule in (("script", "script-src"), ("style", "style-src")):
        ours = [text for text in page.code[kind] if not text.startswith("[")]
        digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in ours]
        assert allowed[rule] == " ".join(f"'sha256-{digest}'" for digest in digests)
    assert not [text for text in page.code["style"] if "url(" in text or "@import" in text]


def test_a_figure_carries_its_numbers_unless_they_are_too_many(tmp_path, monkeypatch):
    numbers = "x,y\n" + "".join(f"{k},{k * k}\n" for k in range(100))
    shown = Chapter("Page", [picture(tmp_path, numbers=numbers)])
    (packed,) = (one["data-packed"] for one in Read(html_page(shown)).all("details"))
    assert gzip.decompress(base64.b64decode(str(packed))).decode() == numbers
    monkeypatch.setattr(html, "MOST_NUMBERS", 10)
    page = Read(html_page(shown))
    assert page.all("details") == []
    assert "too many to carry; they are in figure1.csv" in page.text


def test_the_same_page_is_the_same_bytes(tmp_path):
    page = Chapter("Page", every_block(tmp_path))
    assert html_page(page) == html_page(page)


def test_both_files_are_written_and_words_are_changed_in_both(tmp_path):
    page = Chapter("Page", [Words("say `chunk=0`"), Table([["`chunk=0`"]], "t")])
    written = write_page(page, tmp_path / "p.q", words=lambda text: text.replace("chunk=0", "--chunk 0"))
    assert written == tmp_path / "p.q.html"
    for file in (written, tmp_path / "p.q.md"):
        text = file.read_text("utf-8")
        assert text.count("--chunk 0") == 2
        assert "chunk=0" not in text
    assert "<code>--chunk 0</code>" in written.read_text("utf-8")


def test_curves_are_the_measured_numbers():
    one = network(checkpoints=2)
    data, found = one.measurements, curves_of(one)

    def decoded(name: str, *shape: int) -> np.ndarray:
        return np.frombuffer(base64.b64decode(found[name]), "<f4").reshape(shape)

    np.testing.assert_array_equal(decoded("loss", 2, 5), data["loss"].values.astype("f4"))
    np.testing.assert_array_equal(decoded("change", 2, 5, 5), data["gradient_change"].values.astype("f4"))
    trust = one.summary["deep_relative_trust"].values.astype("f4")
    np.testing.assert_array_equal(decoded("trust", 2, 5), trust)
    evidence = np.frombuffer(base64.b64decode(found["evidence"]), np.uint8).reshape(2, 5, 5)
    np.testing.assert_array_equal(evidence, one.summary["above_noise"].values)
    assert found["etas"] == data["eta"].values.tolist()
    assert found["layers"] == data["layer"].values.tolist()
    assert found["weights"] == data["is_weight"].values.tolist()
    assert found["limits"]["measured"] == [
        float(value) if np.isfinite(value) else None for value in one.limits["measured"].values
    ]
    assert found["limits"]["Lemma 2"] == one.limits["lemma2"].values.tolist()


def test_of_very_many_layers_some_are_left_out_evenly(monkeypatch):
    monkeypatch.setattr("figures.report.curves.MOST_VALUES", 3 * 5 * 3)
    found = curves_of(network(checkpoints=3))
    assert MOST_VALUES > 45
    assert found["all_layers"] == 5
    assert found["layers"] == ["layers.0.weight", "layers.1.weight", "layers.2.weight"]
    assert len(base64.b64decode(found["change"])) == 4 * 45


def test_numbers_beyond_float32_or_none_are_no_numbers(tmp_path):
    one = network()
    loss = one.measurements["loss"].copy()
    loss[0, 1], loss[0, 2], loss[0, 3] = np.nan, np.inf, 1e300
    found = curves_of(replace(one, measurements=one.measurements.assign(loss=loss)))
    decoded = np.frombuffer(base64.b64decode(found["loss"]), "<f4")
    assert not np.isfinite(decoded[1:4]).any()
    html_page(Chapter("Page", [Curves([one])]))


def test_a_network_is_told_from_its_alarms_to_its_tables(tmp_path):
    rows = [["a", "b"], ["1", "2"]]
    one = replace(
        network("2 layers"),
        in_short=(("probed", "This"),),
        introduction=("One.",),
        alarms=("broken",),
        unfinished=("1 of 2",),
        warnings=("odd",),
        sections=((VERDICTS, "Why.", rows), ("Step limits", "What.", rows)),
    )
    names = ("figure1.png", "figure1.pdf", "figure1.csv", "limits.png", "slack-2-layers.png", "own.png")
    files = [tmp_path / name for name in names]
    alarm, chapter = network_chapters([one], files)
    assert alarm == Words("(2 layers) broken.", "alarm")
    assert isinstance(chapter, Chapter)
    *first, probed, verdicts, along, limits = chapter.blocks
    assert first == [
        Words("1 of 2.", "beware"),
        Points([("probed", "This.")]),
        Items(("odd",), beware=True),
    ]
    assert isinstance(probed, Chapter)
    assert probed.blocks[1:] == [Words("One.")]
    assert isinstance(verdicts, Chapter)
    assert verdicts.blocks == [Words("Why."), Claims(one.judged, rows)]
    assert isinstance(along, Chapter)
    # the slack has no section here, and is not lost
    drawn = [block.file.stem for block in along.blocks if isinstance(block, Picture)]
    assert drawn == ["figure1", "slack-2-layers", "own"]
    assert isinstance(limits, Chapter)
    told, table, shown = limits.blocks
    assert (told, table) == (Words("What."), Table(rows, "Step limits"))
    assert isinstance(shown, Picture)
    assert shown.file.name == "limits.png"
    assert shown.caption == caption("limits", ["2 layers"])


def test_what_several_share_comes_first_and_is_explained_once(tmp_path):
    rows = [["a"], ["1"]]
    both = [
        replace(network(title), sections=(("Tables", "Why.", rows),)) for title in ("2 layers", "16 layers")
    ]
    files = [tmp_path / "figure1.png", tmp_path / "slack-16-layers.png"]
    together, first, second = network_chapters(both, files)
    assert isinstance(together, Chapter)
    assert together.blocks[0] == Curves(both)
    assert isinstance(together.blocks[1], Picture)
    assert isinstance(first, Chapter)
    assert isinstance(second, Chapter)
    tables = [part.blocks[-1] for part in (first, second)]
    assert tables == [
        Chapter("Tables", [Words("Why."), Table(rows, "Tables")]),
        Chapter("Tables", [Table(rows, "Tables")]),
    ]
    along = [part.blocks[2] for part in (first, second)]
    assert [isinstance(part, Chapter) and len(part.blocks) for part in along] == [1, 2]  # the slack is of one


def test_the_sections_that_figures_belong_to_are_those_of_the_analysis():
    source = Path(analysis.findings.__file__).read_text("utf-8")
    assert [heading for heading in [VERDICTS, *PICTURES] if f'("{heading}", ' not in source] == []


@pytest.mark.parametrize("titles", [["16 layers, residual"], ["layers", "16 layers, residual"]])
def test_every_figure_of_a_report_has_a_caption(tmp_path, titles):
    one = network("16 layers, residual")
    written = write_report_figures(tmp_path, [one], formats=[])
    for path in written:
        kind, title = kind_of(path.stem, titles)
        assert kind, path
        assert title == one.title or kind in ("figure1", "limits")
        assert caption(path.stem, titles).startswith(title)
    assert caption("slack-of-mine", titles) == ""

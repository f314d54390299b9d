"""One page of a run, of a study, of several; and what stands on it."""

from __future__ import annotations

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from figures.report.figures import COMPARED
from tests.conftest import Probe
from tests.probes.cli.refusals import one_line

STUDY = f"{Path(__file__).parent.parent.parent / 'studies' / 'mine.py'}:Squares"


class Words(HTMLParser):
    """What a page says in its headings, and in all."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.text = ""
        self._inside = ""
        self.feed(file.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._inside = tag
        if tag in ("h1", "h2", "h3"):
            self.headings.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in ("h1", "h2", "h3"):
            self.headings[-1] += data
        if self._inside not in ("script", "style"):
            self.text += data


@pytest.fixture(scope="module")
def study(probe: Probe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study") / "out"
    found = probe("study", STUDY, "--seeds", 1, "--jobs", 1, "--format", "png", "--out", out)
    assert found.exit_code == 0, found.output
    assert f"{out / 'squares.html'} says it" in found.stdout
    return out


def test_the_page_of_a_run(probe: Probe, measured: Path, tmp_path: Path) -> None:
    result = probe("report", measured, "--out", tmp_path / "r", "--format", "pdf")
    assert result.exit_code == 0, result.output
    assert f"{tmp_path / 'r' / 'report.html'} shows it all in one file" in result.stdout
    assert (tmp_path / "r" / "figure1.png").is_file()  # which the page shows
    assert (tmp_path / "r" / "figure1.pdf").is_file()
    page = Words(tmp_path / "r" / "report.html")
    title, network, *rest = page.headings
    assert (title, network) == ("Deep relative trust: what was measured", "3 layers")
    for heading in ("What was probed", "Verdicts", "Along the slice", "Step limits", "Self-checks"):
        assert heading in rest
    for said in (
        "What the data contradict",
        "Of which the data say nothing here",
        "60 examples of",
        "6–8 (×2)–3",
        "relu",
        "versions",
    ):
        assert said in page.text
    assert "--jacobian" in page.text  # options as the command spells them
    config = f"$ probe run --config {measured / 'run.toml'} --out {measured}-again"
    assert f"{config}\n$ probe report {measured}-again\n" in page.text


def test_the_page_of_a_study_is_written_again_from_its_answer(
    probe: Probe, study: Path, tmp_path: Path
) -> None:
    result = probe("report", study, "--out", tmp_path, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["page"] == str(tmp_path / "report.html")
    (answer,) = document["studies"]
    assert answer["answer"] == "As large as 4."
    for page in (Words(tmp_path / "report.html"), Words(study / "squares.html")):
        assert "How large are squares?" in page.text
        assert "As large as 4." in page.text
        assert "Answer (the quick preset, 1 seed)" in page.headings
        assert "Nothing is said of cubes." in page.text
        assert "--preset quick --seeds 1" in page.text


def test_several_stand_on_one_page(probe: Probe, measured: Path, study: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(measured, other)
    result = probe("report", measured, other, study, "--out", tmp_path / "r")
    assert result.exit_code == 0, result.output
    assert "── run ──" in result.stdout
    assert "── other ──" in result.stdout
    assert "squares: As large as 4." in result.stdout
    chapters = Words(tmp_path / "r" / "report.html").headings
    assert [one for one in chapters if one in ("squares", "All together", "run", "other", "Do it again")] == [
        "squares",
        "All together",
        "run",
        "other",
        "Do it again",
    ]
    assert (tmp_path / "r" / "constants-other.png").is_file()


def test_what_several_need(probe: Probe, measured: Path, study: Path, tmp_path: Path) -> None:
    one_line(probe("report", measured, study, study, "--out", tmp_path / "r"), str(study), "is given twice")
    shutil.copytree(measured, tmp_path / "other")
    one_line(probe("report", measured, tmp_path / "other"), "--out: name a folder")
    options = ("--out", tmp_path / "r", "--title", "one")
    one_line(probe("report", measured, tmp_path / "other", *options), "--title: names one network")
    one_line(probe("report", measured, measured, "--out", tmp_path / "r"), str(measured), "is given twice")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    "damage",
    [
        "{",
        "[]",
        '{"name": "squares"}',
        {"name": "../squares"},
        {"table": []},
        {"table": [["a", 1]]},
        {"table": [["a", "b"], ["c"]]},
        {"caveats": "none"},
        {"given": {"seeds": "1"}},
        {"sizes": ["1"]},
        {"answer": 4},
    ],
    ids=str,
)
def test_a_damaged_answer_is_refused_in_a_line(
    probe: Probe, study: Path, tmp_path: Path, damage: object
) -> None:
    folder = tmp_path / "study"
    shutil.copytree(study, folder)
    file = folder / "squares.answer.json"
    good = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps(good | damage) if isinstance(damage, dict) else str(damage), "utf-8")
    one_line(probe("report", folder, "--out", tmp_path / "r"), str(file), "run the study again")
    assert not (tmp_path / "r").exists()


def test_an_answer_without_its_figure_is_refused_in_a_line(probe: Probe, study: Path, tmp_path: Path) -> None:
    shutil.copytree(study, tmp_path / "study")
    (tmp_path / "study" / "squares.png").unlink()
    one_line(probe("report", tmp_path / "study"), "squares.png", "is missing")
    (tmp_path / "study" / "squares.png").write_bytes((study / "squares.png").read_bytes()[:200])
    one_line(probe("report", tmp_path / "study"), "squares.png", "is damaged", "run the study again")


def test_runs_side_by_side_stand_on_one_page(probe: Probe, measured: Path, tmp_path: Path) -> None:
    shutil.copytree(measured, tmp_path / "other")
    out = tmp_path / "r"
    result = probe("compare", measured, tmp_path / "other", "--out", out)
    assert result.exit_code == 0, result.output
    assert f"{out / 'compare.html'} shows it all in one file" in result.stdout
    page = Words(out / "compare.html")
    assert page.headings[0] == "Side by side: run, other"
    for said in ("No claim fares differently", "60 examples of", f"$ probe compare {measured}"):
        assert said in page.text
    assert (out / "compare.md").read_text("utf-8").count("![") == 3
    for said in COMPARED.values():
        assert said in page.text
    assert "black line" not in page.text  # which the figure of one run's limits has

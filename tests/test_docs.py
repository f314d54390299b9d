"""The documents show what the code says, their lines are short, and their links lead somewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import docs.notebook
import probes
from docs.variables import PAGE, page
from tests.conftest import Probe

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
LONGEST = 100


def name(page: Path) -> str:
    """A page's, from the root."""
    return str(page.relative_to(ROOT))


def long_lines(text: str) -> list[str]:
    """Lines longer than they should be, but for code, tables and links that cannot be broken."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return [
        line
        for line in prose.splitlines()
        if len(line) > LONGEST
        and not line.startswith("|")
        and not re.fullmatch(r"\S*\[[^]]*\]\(\S+\)\S*", line)
    ]


def dead_links(page: Path, text: str) -> list[str]:
    """Relative links to files that are not there, or to headings that they do not have."""
    dead = []
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        path, _, heading = link.partition("#")
        target = page.parent / path if path else page
        if not target.is_file() or (heading and heading not in headings(target.read_text("utf-8"))):
            dead.append(link)
    return dead


def headings(text: str) -> set[str]:
    """Headings as links name them."""
    found = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_lines_are_short(page: Path) -> None:
    text = page.read_text("utf-8")
    assert long_lines(text) == []
    assert long_lines(text + "\n" + 26 * "word ") == [26 * "word "]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    assert dead_links(page, text) == []
    assert dead_links(page, f"[a]({page.name}) [b](nowhere.md) [c]({page.name}#nowhere)") == [
        "nowhere.md",
        f"{page.name}#nowhere",
    ]


def reached(start: Path) -> set[Path]:
    """Pages that links lead to."""
    found, ahead = set(), [start]
    while ahead:
        page = ahead.pop()
        if page not in found:
            found.add(page)
            links = re.findall(r"\]\(([^)\s#:]+\.md)(?:#[^)]*)?\)", page.read_text("utf-8"))
            ahead += [(page.parent / link).resolve() for link in links]
    return found


def test_every_page_can_be_reached_from_the_index_and_every_room_from_the_readme() -> None:
    pages = set(DOCS.rglob("*.md"))
    assert pages - reached(DOCS / "index.md") == set()
    assert pages - reached(DOCS / "internals" / "architecture.md") != set()
    text = (ROOT / "README.md").read_text("utf-8")
    rooms = [folder.name for folder in DOCS.iterdir() if (folder / "index.md").is_file()]
    assert sorted(rooms) == ["concepts", "how-to", "internals", "reference", "results", "start"]
    assert [room for room in rooms if f"(docs/{room}/index.md)" not in text] == []


def test_the_tables_of_variables_are_those_of_the_vocabulary() -> None:
    text = PAGE.read_text("utf-8")
    assert page(text) == text, "run python docs/variables.py"


def test_the_notebook_is_the_page_to_run() -> None:
    text = docs.notebook.NOTEBOOK.read_text("utf-8")
    assert docs.notebook.notebook(docs.notebook.PAGE.read_text("utf-8")) == text, (
        "run python docs/notebook.py"
    )
    code = ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    assert any(cell.startswith("!probe run checkpoints") for cell in code)
    assert any(cell.startswith("import analysis") for cell in code)


def test_the_measures_of_ones_own_are_measured(probe: Probe, trained: Path, tmp_path: Path) -> None:
    options = ["--measure", "default", "--etas", "0.001,0.1"]
    for example in re.findall(
        r"```python\n(.*?)```", (DOCS / "how-to" / "own-measure.md").read_text("utf-8"), re.S
    ):
        file, name = re.search(r"^\"\"\"(\w+\.py)", example), re.search(r"class (\w+)\(", example)
        assert file
        assert name
        (tmp_path / file[1]).write_text(example, "utf-8")
        options += ["--measure", f"{tmp_path / file[1]}:{name[1]}"]
    result = probe("run", trained, *options, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    found = probes.load(tmp_path / "out")
    agreement, margin = found["agreement"], found["mean_margin"]
    assert agreement.attrs["long_name"] == "agreement"
    np.testing.assert_array_equal(agreement.isel(eta=0), 1.0)
    assert ((agreement >= 0) & (agreement <= 1)).all()
    assert margin.attrs["units"] == "output"
    assert (margin > 0).all()
    assert (margin.isel(eta=-1) != margin.isel(eta=0)).all()
    assert "gradient_change" in found


def misplaced_cells(text: str) -> list[str]:
    """Lines of tables as the command prints them with a cell that begins where no rule below the heading does."""
    lines, found = text.splitlines(), []
    for k, rule in enumerate(lines):
        if not re.fullmatch(r"─+(  ─+)+", rule):
            continue
        starts = {match.start() for match in re.finditer("─+", rule)}
        end = next((n for n in range(k, len(lines)) if lines[n].startswith("```")), len(lines))
        table = [lines[k - 1], *(line for line in lines[k + 1 : end] if "  " in line)]
        found += [
            line
            for line in table
            if not {match.start() for match in re.finditer(r"(?<!\S)(?<!\S )\S", line)} <= starts
        ]
    return found


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_columns_of_tables_stand_below_their_headings(page: Path) -> None:
    text = page.read_text("utf-8")
    assert misplaced_cells(text) == []
    good = "```\na    b\n───  ──\n1    2 3\n```\n"
    assert misplaced_cells(text + good) == []
    assert misplaced_cells(text + good.replace("───", "────")) == ["a    b", "1    2 3"]


@pytest.mark.parametrize("page", [ROOT / "README.md", DOCS / "results" / "figure1.md"], ids=name)
def test_what_is_below_figure_1_names_all_that_is_drawn_on_its_curves(page: Path) -> None:
    _, _, below = page.read_text("utf-8").partition("figure1.png)")
    caption = below.strip().split("\n\n")[0]
    assert [word for word in ("curve", "dashed", "dotted", "diamond") if word not in caption] == []

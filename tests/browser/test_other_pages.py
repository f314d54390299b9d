"""The pages of runs side by side and of a study, in the same browser with the same eyes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from probes import load
from tests.browser.accessibility import violations
from tests.browser.charts import BREAKDOWN, LOSS, chart, choose, number, pointed_at, rounded, table
from tests.browser.sessions import DESKTOP, PHONE, SCHEMES, overflow

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.slow
views = pytest.mark.parametrize("view", [DESKTOP, PHONE], ids=["desktop", "phone"])
schemes = pytest.mark.parametrize("scheme", SCHEMES)


@pytest.fixture(params=["comparison", "study"])
def opened(page: Page, request: pytest.FixtureRequest) -> Page:
    """One page after the other."""
    folder: Path = request.getfixturevalue(request.param)
    [path] = folder.glob("*.html")
    page.goto(path.as_uri())
    return page


@views
@schemes
def test_nothing_stands_in_anybodys_way(opened: Page) -> None:
    opened.evaluate("() => { for (const fold of document.querySelectorAll('details')) fold.open = true }")
    opened.locator("details.numbers table").last.wait_for()
    assert violations(opened) == []


@pytest.mark.parametrize("view", [PHONE])
def test_a_phone_scrolls_down_only(opened: Page) -> None:
    assert overflow(opened) <= 0


def test_figures_are_there(opened: Page) -> None:
    widths = opened.locator("figure img").evaluate_all("images => images.map(image => image.naturalWidth)")
    assert min(widths) > 300


@pytest.fixture
def side_by_side(page: Page, comparison: Path) -> Page:
    """The page of two runs."""
    page.goto((comparison / "compare.html").as_uri())
    return page


@pytest.mark.parametrize(("checkpoint", "place"), [("first", 0), ("last", -1)])
def test_runs_side_by_side_are_told_together(
    side_by_side: Page, measured: Path, checkpoint: str, place: int
) -> None:
    choose(side_by_side, "Checkpoint", checkpoint)
    loss = load(measured)["loss"].values[place]
    for now in pointed_at(side_by_side, chart(side_by_side, LOSS)):
        assert now.keys() == {"η", "run", "noise"}
        assert now["run"] in {rounded(value, 4) for value in loss}


@pytest.mark.parametrize(("layer", "place"), [("input layer", 0), ("output layer", 4)])
def test_runs_side_by_side_have_one_table(side_by_side: Page, measured: Path, layer: str, place: int) -> None:
    choose(side_by_side, "Layer of the breakdown", layer)
    panel = chart(side_by_side, BREAKDOWN)
    panel.get_by_text("These curves as a table").click()
    heading, *rows = table(panel)
    columns = [k for k, name in enumerate(heading) if name in ("run", "run, no evidence")]
    found = [next(number(row[k]) for k in columns if number(row[k]) is not None) for row in rows]
    assert found == [rounded(value, 6) for value in load(measured)["gradient_change"].values[-1, :, place]]


def test_a_study_begins_with_its_question_and_shows_its_figure_before_the_answer(
    page: Page, study: Path
) -> None:
    page.goto((study / "squares.html").as_uri())
    assert page.locator("main p:not(noscript p)").first.inner_text() == "How large are squares?"
    order = page.locator("main :is(figure, table)").evaluate_all("found => found.map(one => one.tagName)")
    assert order[0] == "FIGURE"
    assert "TABLE" in order


def test_a_study_saves_its_numbers(page: Page, study: Path) -> None:
    page.goto((study / "squares.html").as_uri())
    page.locator("details.numbers summary").click()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save squares.csv").click()
    assert saved.value.path().read_bytes() == (study / "squares.csv").read_bytes()

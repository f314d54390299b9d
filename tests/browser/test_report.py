"""The page of a report as a reader meets it: what is read first, chosen, pointed at, opened, saved and printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr

from probes import load
from tests.browser.accessibility import violations
from tests.browser.charts import (
    BREAKDOWN,
    LOSS,
    chart,
    choose,
    number,
    pointed_at,
    rounded,
    settled,
    table,
    told,
)
from tests.browser.sessions import DESKTOP, PHONE, SCHEMES, View, overflow, watched

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

pytestmark = pytest.mark.slow
views = pytest.mark.parametrize("view", [DESKTOP, PHONE], ids=["desktop", "phone"])
schemes = pytest.mark.parametrize("scheme", SCHEMES)


@pytest.fixture
def opened(page: Page, report: Path) -> Page:
    """The report's page."""
    page.goto((report / "report.html").as_uri())
    return page


@pytest.fixture(scope="module")
def dataset(measured: Path) -> xr.Dataset:
    """What was measured."""
    return load(measured)


def unfold(page: Page) -> None:
    """Open all that is folded, and wait for the numbers that come then."""
    page.evaluate("() => { for (const fold of document.querySelectorAll('details')) fold.open = true }")
    for fold in page.locator("details.numbers, details.values").all():
        fold.locator("table").wait_for()


def test_the_summary_is_read_first(opened: Page) -> None:
    first = opened.locator("main :is(dl, table, figure, details, canvas)").first
    words = first.locator("dt").all_inner_texts()
    assert words[:3] == ["probed", "holds", "breaks"]
    assert "60 examples" in first.locator("dd").first.inner_text()


def test_every_figure_is_there_with_what_it_shows(opened: Page, report: Path) -> None:
    assert opened.locator("figure").count() == len(list(report.glob("*.png")))
    widths = opened.locator("figure img").evaluate_all("images => images.map(image => image.naturalWidth)")
    assert min(widths) > 300
    captions = opened.locator("figure figcaption").all_inner_texts()
    assert len(captions) == len(widths)
    assert min(map(len, captions)) > 40


@views
@schemes
@pytest.mark.parametrize("open_all", [False, True], ids=["folded", "open"])
def test_nothing_stands_in_anybodys_way(opened: Page, open_all: bool) -> None:
    if open_all:
        unfold(opened)
    assert violations(opened) == []


@pytest.mark.parametrize("view", [View(320, 640, phone=True), PHONE, View(700, 375, phone=True)])
def test_a_phone_scrolls_down_only(opened: Page) -> None:
    assert overflow(opened) <= 0
    unfold(opened)
    assert overflow(opened) <= 0


def test_a_window_that_is_made_narrow_takes_the_charts_with_it(opened: Page) -> None:
    opened.set_viewport_size({"width": 375, "height": 700})
    settled(opened)
    assert overflow(opened) <= 0
    assert chart(opened).locator(".u-wrap").bounding_box()["width"] <= 375  # type: ignore[index]


@pytest.mark.parametrize("checkpoint", [0, 2])
@views
def test_the_pointer_tells_the_loss_that_was_measured(
    opened: Page, dataset: xr.Dataset, checkpoint: int
) -> None:
    choose(opened, "Checkpoint", checkpoint)
    found = pointed_at(opened, chart(opened, LOSS))
    values = dataset["loss"].values[checkpoint]
    expected = {
        rounded(eta, 4): rounded(loss, 4) for eta, loss in zip(dataset["eta"].values, values, strict=True)
    }
    del expected[0.0]  # which has no place on a logarithmic axis
    assert {now["η"]: now["loss"] for now in found} == expected


@pytest.mark.parametrize("layer", [0, 3])
def test_the_pointer_tells_the_breakdown_that_was_measured(
    opened: Page, dataset: xr.Dataset, layer: int
) -> None:
    choose(opened, "Checkpoint", 1)
    choose(opened, "Layer of the breakdown", layer)
    found = pointed_at(opened, chart(opened, BREAKDOWN))
    assert len(found) == dataset.sizes["eta"] - 1
    measured = dict(zip(dataset["eta"].values, dataset["gradient_change"].values[1, :, layer], strict=True))
    for now in found:
        [value] = [now[name] for name in ("measured", "no evidence") if now.get(name) is not None]
        assert value == rounded(measured[now["η"]], 4)


def test_both_charts_tell_of_the_same_eta(opened: Page) -> None:
    for now in pointed_at(opened, chart(opened, LOSS), places=5):
        assert told(chart(opened, BREAKDOWN)).keys() > {"η"}
        last = now
    assert told(chart(opened, BREAKDOWN))["η"] == last["η"]


def test_a_linear_axis_has_zero(opened: Page, dataset: xr.Dataset) -> None:
    choose(opened, "η axis", "linear")
    found = pointed_at(opened, chart(opened, LOSS), places=400)
    assert found[0]["η"] == 0
    assert found[0]["loss"] == rounded(dataset["loss"].values[-1, 0], 4)


def test_every_checkpoint_is_a_curve(opened: Page, dataset: xr.Dataset) -> None:
    choose(opened, "Checkpoint", "every checkpoint")
    curves = told(chart(opened, LOSS)).keys() - {"η"}
    assert len(curves) == dataset.sizes["checkpoint"]


@pytest.mark.parametrize("place", [LOSS, BREAKDOWN])
def test_the_table_behind_a_chart_has_the_measured_numbers(
    opened: Page, dataset: xr.Dataset, place: int
) -> None:
    choose(opened, "Checkpoint", 2)
    panel = chart(opened, place)
    panel.get_by_text("These curves as a table").click()
    heading, *rows = table(panel)
    values = (dataset["loss"] if place == LOSS else dataset["gradient_change"].isel(layer=0)).values[2]
    assert heading[0] == "η"
    assert [number(row[0]) for row in rows] == [rounded(eta, 4) for eta in dataset["eta"].values]
    columns = [k for k, name in enumerate(heading) if name in ("loss", "measured", "no evidence")]
    found = [[number(row[k]) for k in columns if number(row[k]) is not None] for row in rows]
    assert found == [[rounded(value, 6)] for value in values]


def test_the_table_follows_the_choice(opened: Page, dataset: xr.Dataset) -> None:
    panel = chart(opened, LOSS)
    panel.get_by_text("These curves as a table").click()
    choose(opened, "Checkpoint", 0)
    assert number(table(panel)[1][1]) == rounded(dataset["loss"].values[0, 0], 6)


def test_arrow_keys_walk_along_the_curve(opened: Page, dataset: xr.Dataset) -> None:
    opened.locator(".chart").first.focus()
    said = chart(opened).locator("[aria-live]")
    heard = []
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "End", "Home"):
        opened.keyboard.press(key)
        settled(opened)
        heard.append(
            [float(found) for found in re.findall(r"(?:η|loss) (\S+?)(?=[:,]|$)", said.inner_text())]
        )
    loss, etas = dataset["loss"].values[-1], dataset["eta"].values
    assert heard == [[rounded(etas[k], 4), rounded(loss[k], 4)] for k in (1, 2, 1, 4, 1)]


def test_the_keyboard_reaches_all_that_can_be_used(opened: Page) -> None:
    mark = """() => {
        const usable = [...document.querySelectorAll("a, button, select, summary, [tabindex='0']")];
        const seen = usable.filter(one => one.checkVisibility());
        for (const one of seen) one.dataset.unreached = "";
        return seen.length;
    }"""
    count = opened.evaluate(mark)
    assert count > 30
    for _ in range(count + 1):
        opened.keyboard.press("Tab")
        opened.evaluate("() => document.activeElement.removeAttribute('data-unreached')")
    left = opened.locator("[data-unreached]").evaluate_all(
        "left => left.map(one => one.outerHTML.slice(0, 80))"
    )
    assert left == []


def test_the_first_key_leads_past_the_contents(opened: Page) -> None:
    opened.keyboard.press("Tab")
    opened.keyboard.press("Enter")
    assert opened.evaluate("document.activeElement.tagName") == "MAIN"


def test_the_keyboard_chooses(opened: Page, dataset: xr.Dataset) -> None:
    opened.get_by_label("Checkpoint", exact=True).focus()
    opened.keyboard.press("Home")
    settled(opened)
    found = pointed_at(opened, chart(opened, LOSS))
    assert found[0]["loss"] == rounded(dataset["loss"].values[0, 1], 4)


def fold(page: Page, claim: str) -> Locator:
    """What is told of a claim."""
    return page.locator("details.claim").filter(
        has=page.locator("summary code", has_text=re.compile(f"^{claim}$"))
    )


@pytest.mark.parametrize("how", ["pointer", "keyboard"])
def test_a_claim_opens_and_closes(opened: Page, how: str) -> None:
    one = fold(opened, "deep-relative-trust")
    inside = one.locator(".told")

    def toggle() -> None:
        if how == "pointer":
            one.locator("summary").click()
        else:
            one.locator("summary").focus()
            opened.keyboard.press("Enter")

    assert not inside.is_visible()
    toggle()
    assert inside.is_visible()
    toggle()
    assert not inside.is_visible()


def test_an_open_claim_has_its_statement_in_symbols_its_premises_and_every_checkpoint(
    opened: Page, dataset: xr.Dataset
) -> None:
    one = fold(opened, "lemma2-limit")
    one.locator("summary").click()
    assert one.locator("math").bounding_box()["height"] > 10  # type: ignore[index]
    names = [name.get_attribute("aria-label") for name in one.get_by_role("region").all()]
    assert names == [
        "lemma2-limit in symbols",
        "Table: premises of lemma2-limit",
        "Table: verdicts on lemma2-limit",
    ]
    verdicts = one.get_by_role("region", name="verdicts on").locator("tbody tr")
    assert verdicts.count() == dataset.sizes["checkpoint"]


def numbers_of(page: Page, name: str) -> Locator:
    """The fold of a figure's numbers, open."""
    one = page.locator(f"details.numbers[data-name='{name}']")
    one.locator("summary").click()
    one.locator("table").wait_for()
    return one


def test_saved_numbers_are_the_file_beside_the_page(opened: Page, report: Path) -> None:
    one = numbers_of(opened, "figure1.csv")
    with opened.expect_download() as saved:
        one.get_by_role("button").click()
    assert saved.value.suggested_filename == "figure1.csv"
    assert saved.value.path().read_bytes() == (report / "figure1.csv").read_bytes()


def test_contents_lead_to_every_chapter(opened: Page) -> None:
    links = opened.locator("nav a")
    headings = opened.locator("main section > :is(h2, h3)").all_inner_texts()
    assert links.all_inner_texts() == headings
    links.last.click()
    assert opened.locator("section:target > h2").inner_text() == headings[-1]


def test_print_has_the_figures_and_no_canvas(opened: Page) -> None:
    opened.emulate_media(media="print")
    assert not opened.locator("canvas").first.is_visible()
    assert all(image.is_visible() for image in opened.locator("figure img").all())


def test_print_opens_what_is_folded_and_folds_it_again(opened: Page) -> None:
    closed = opened.locator("details:not(.numbers, .values):not([open])")
    before = closed.count()
    opened.evaluate(
        "() => addEventListener('beforeprint', () => { window.left = document.querySelectorAll("
        "'details:not(.numbers, .values, .group, .group:not([open]) *):not([open])').length })"
    )
    printed = opened.pdf()
    assert printed.startswith(b"%PDF")
    assert opened.evaluate("window.left") == 0  # but for the group of which nothing is said
    assert closed.count() == before > 10


def test_paper_has_every_figure(opened: Page) -> None:
    assert len(re.findall(rb"/Subtype\s*/Image", opened.pdf())) >= opened.locator("figure img").count()


@schemes
def test_dark_pages_are_dark(opened: Page, scheme: str) -> None:
    paper = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = np.mean([int(part) for part in re.findall(r"\d+", paper)[:3]])
    assert (brightness < 64) == (scheme == "dark")


def test_charts_follow_the_colours_of_the_moment(opened: Page) -> None:
    pixels = "document.querySelector('canvas').toDataURL()"
    light = opened.evaluate(pixels)
    opened.emulate_media(color_scheme="dark")
    settled(opened)
    assert opened.evaluate(pixels) != light


def test_without_scripts_the_figures_are_there(browser: Browser, report: Path) -> None:
    with watched(browser, java_script_enabled=False) as page:
        page.goto((report / "report.html").as_uri())
        assert page.locator("figure img").first.is_visible()
        assert page.locator("noscript").inner_text().startswith("Without scripts")
        assert not page.locator(".curves").is_visible()


def test_the_page_needs_no_other_file(page: Page, report: Path, tmp_path: Path) -> None:
    alone = tmp_path / "sent.html"
    alone.write_bytes((report / "report.html").read_bytes())
    page.goto(alone.as_uri())
    unfold(page)
    assert page.locator("canvas").count() == 2
    assert page.locator("figure img").first.evaluate("image => image.naturalWidth") > 300


def test_its_policy_lets_no_script_of_another_run(browser: Browser, report: Path) -> None:
    def tried() -> Any:
        with watched(browser) as page:
            page.goto((report / "report.html").as_uri())
            page.evaluate(
                "() => { const own = document.createElement('script'); own.textContent = 'window.ran = 1';"
                " document.body.append(own) }"
            )
            assert page.evaluate("window.ran") is None

    with pytest.raises(AssertionError, match="Content Security Policy"):
        tried()

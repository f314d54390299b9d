"""Names and values from outside are text on the page, never markup, and the page still does what it does."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import xarray as xr

from figures.report.blocks import Chapter, Curves
from figures.report.html import html_page
from tests.browser import hostile
from tests.browser.accessibility import violations
from tests.browser.charts import BREAKDOWN, LOSS, chart, choose, number, pointed_at, rounded, table
from tests.browser.sessions import PHONE, overflow
from tests.conftest import Probe
from tests.figures import examples

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def report(probe: Probe, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report in which everything that can be named is named to harm."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "checkpoints").mkdir()
    for seed, name in enumerate(hostile.CHECKPOINTS):
        torch.manual_seed(seed)
        torch.save(hostile.Hostile().state_dict(), folder / "checkpoints" / f"{name}.pt")
    network = f"{hostile.__file__}:Hostile"
    run = folder / hostile.RUN
    given = ["--network", network, "--data", data, "--etas", "0.0001,0.001,0.01,0.1", "--out", run]
    for command in (
        ["run", folder / "checkpoints", *given],
        ["report", run, "--title", hostile.TITLE, "--out", folder / "report"],
    ):
        result = probe(*command)
        assert result.exit_code == 0, result.output
    return folder / "report"


@pytest.fixture
def opened(page: Page, report: Path) -> Page:
    """The report's page; a dialog in it fails the test."""
    page.goto((report / "report.html").as_uri())
    return page


def test_names_are_text(opened: Page) -> None:
    assert opened.locator("main h2").first.inner_text() == hostile.TITLE
    said = opened.locator("main").inner_text()
    assert all(name in said for name in (hostile.CHECKPOINTS[0], hostile.CHECKPOINTS[2]))
    assert "49" not in opened.locator("main h2, option").all_inner_texts()


def test_names_make_no_elements(opened: Page) -> None:
    opened.evaluate("() => { for (const fold of document.querySelectorAll('details')) fold.open = true }")
    opened.locator("details.numbers table").last.wait_for()
    assert opened.locator("b, #made, [onerror], img:not(figure img)").count() == 0
    kinds = opened.locator("script").evaluate_all("found => found.map(one => one.type)")
    assert [kind for kind in kinds if kind] == ["application/json"]


def test_every_name_can_be_chosen(opened: Page) -> None:
    for label, names in (("Checkpoint", hostile.CHECKPOINTS), ("Layer of the breakdown", hostile.LAYERS)):
        for name in names:
            choose(opened, label, name)
            assert name in chart(opened, BREAKDOWN).locator(".panel-title").inner_text()


@pytest.mark.parametrize("view", [PHONE])
def test_long_names_do_not_widen_the_page(opened: Page) -> None:
    assert overflow(opened) <= 0


def test_nobody_is_in_the_way(opened: Page) -> None:
    assert violations(opened) == []


def test_numbers_shown_are_those_of_the_file(opened: Page, report: Path) -> None:
    numbers = opened.locator("details.numbers[data-name='limits.csv']")
    numbers.locator("summary").click()
    numbers.locator("table").wait_for()
    with (report / "limits.csv").open(newline="") as file:
        assert table(numbers) == list(csv.reader(file))


Show = Callable[..., xr.Dataset]


@pytest.fixture
def show(page: Page, tmp_path: Path) -> Show:
    """Open a page with the curves of an example, changed, and return its data."""

    def shown(change: Callable[[xr.Dataset], xr.Dataset], **sizes: Any) -> xr.Dataset:
        one = examples.network(**sizes)
        one = replace(one, measurements=change(one.measurements), summary=change(one.summary))
        path = tmp_path / "page.html"
        path.write_text(html_page(Chapter("Page", [Chapter("Curves", [Curves([one])])])), "utf-8")
        page.goto(path.as_uri())
        return one.measurements

    return shown


def test_a_checkpoint_of_any_name_is_an_option(page: Page, show: Show) -> None:
    name = "<script>alert(1)</script>"
    show(lambda data: data.assign_coords(checkpoint=[name, *data["checkpoint"].values[1:]]).drop_vars("step"))
    choose(page, "Checkpoint", name)
    assert name in chart(page, LOSS).locator(".panel-title").inner_text()


VALUES = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf, "beyond float32": 1e300, "0": 0.0, "below 0": -1.0}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_odd_values_leave_the_others_as_they_are(page: Page, show: Show, value: float) -> None:
    def odd(data: xr.Dataset) -> xr.Dataset:
        if "loss" not in data:
            return data
        loss, change = data["loss"].copy(), data["gradient_change"].copy()
        loss[-1, 2], change[-1, 3] = value, value
        return data.assign(loss=loss, gradient_change=change)

    data = show(odd)
    found = {now["η"]: now["loss"] for now in pointed_at(page, chart(page, LOSS), places=100)}
    expected = dict(zip(data["eta"].values, data["loss"].values[-1], strict=True))
    assert found[0.001] == rounded(expected[0.001], 4)
    assert found.get(0.01) is None
    assert found[0.1] == rounded(expected[0.1], 4)
    choose(page, "Value axes", "linear")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nothing_but_odd_values_is_an_empty_chart(page: Page, show: Show, value: float) -> None:
    show(lambda data: data.assign(loss=data["loss"] * value) if "loss" in data else data)
    panel = chart(page, LOSS)
    panel.get_by_text("These curves as a table").click()
    assert {row[1] for row in table(panel)[1:]} == {"∞" if np.isinf(value) else "–"}
    for scale in ("linear", "logarithmic"):
        choose(page, "Value axes", scale)


def test_ten_thousand_layers_can_be_chosen_from(page: Page, show: Show) -> None:
    names = [f"layers.{k}.weight" for k in range(10_000)]

    def many(data: xr.Dataset) -> xr.Dataset:
        places = np.arange(10_000) % data.sizes["layer"]
        return data.isel(layer=places).assign_coords(layer=names)

    data = show(many, checkpoints=2)
    choose(page, "Layer of the breakdown", names[-1])
    panel = chart(page, BREAKDOWN)
    assert names[-1] in panel.locator(".panel-title").inner_text()
    panel.get_by_text("These curves as a table").click()
    expected = data["gradient_change"].values[-1, :, -1]
    assert [number(row[1]) for row in table(panel)[1:]] == [rounded(value, 6) for value in expected]


def test_of_more_numbers_than_a_page_carries_it_says_which_it_has(page: Page, show: Show) -> None:
    def many(data: xr.Dataset) -> xr.Dataset:
        places = np.arange(30_000) % data.sizes["layer"]
        return data.isel(layer=places).assign_coords(layer=[f"layers.{k}.weight" for k in range(30_000)])

    show(many, checkpoints=2)
    count = page.get_by_label("Layer of the breakdown").locator("option").count()
    assert count == 12_000
    assert page.get_by_text(f"In this page are {count} of the 30000 tensors").is_visible()

"""What a reader gets from a page's curves: the values below the pointer, and the table behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

__all__ = [
    "BREAKDOWN",
    "LOSS",
    "chart",
    "choose",
    "number",
    "pointed_at",
    "rounded",
    "settled",
    "table",
    "told",
]

LOSS, BREAKDOWN = 0, 1
Told = dict[str, float | None]
_NONE = "–"


def settled(page: Page) -> None:
    """Wait until what was asked for is painted."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def chart(page: Page, place: int = LOSS) -> Locator:
    """The panel at a place of the page."""
    return page.locator(".panel").nth(place)


def choose(page: Page, label: str, option: str | int) -> None:
    """An option by its name, or by its place from 0."""
    box = page.get_by_label(label, exact=True).first
    box.select_option(label=option) if isinstance(option, str) else box.select_option(index=option)
    settled(page)


def number(text: str) -> float | None:
    """A number as the page writes it; None for the dash where there is none."""
    return None if text.strip() == _NONE else float(text)


def rounded(value: float, digits: int) -> float | None:
    """A measured value as it is told: a float32's first digits."""
    return float(f"{np.float32(value):.{digits}g}") if np.isfinite(value) else None


def told(panel: Locator) -> Told:
    """What stands below the chart, by curve."""
    rows: list[list[str]] = panel.locator(".u-series").evaluate_all(
        "rows => rows.map(row => [row.querySelector('.u-label').innerText, row.querySelector('.u-value').innerText])"
    )
    return {label: number(value) for label, value in rows}


def pointed_at(page: Page, panel: Locator, places: int = 40) -> list[Told]:
    """What is told as the pointer wanders over the chart from left to right: each η once."""
    over = panel.locator(".u-over")
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    assert box is not None
    found: dict[float | None, Told] = {}
    for place in range(places):
        page.mouse.move(box["x"] + (place + 0.5) / places * box["width"], box["y"] + box["height"] / 2)
        settled(page)
        now = told(panel)
        found[now["η"]] = now
    return [now for eta, now in found.items() if eta is not None]


def table(place: Locator) -> list[list[str]]:
    """The texts of a table's cells, its heading first."""
    rows: list[list[str]] = place.locator("table:not(.u-legend) tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
    )
    return rows

"""What a page's weight and times are made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import measure, pages, report
from benchmarks.browser import NoBrowserError

pytestmark = pytest.mark.slow


def test_a_canvas_that_is_drawn_late_counts_and_a_page_is_seen_before(tmp_path: Path) -> None:
    late = tmp_path / "late.html"
    drawing = "setTimeout(() => document.querySelector('canvas').getContext('2d').fillRect(0, 0, 9, 9), 250)"
    late.write_text(f"<!DOCTYPE html><h1>Late</h1><canvas></canvas><script>{drawing}</script>")
    try:
        found = pages.opened({"late": late}, 1)
    except NoBrowserError as error:
        pytest.skip(str(error))
    [first], [whole] = found["late: first paint"], found["late: all drawn"]
    assert 0 < first < whole
    assert whole >= 0.25  # whatever the machine: no timer is early


def test_without_a_browser_pages_are_weighed_and_it_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PROBE_BROWSER", str(tmp_path / "none"))
    found = pages.compare(1, checkpoints=2, etas=4, layers=4)
    assert found["bytes"]["report.html"] > found["bytes"]["static page"] / 10
    assert found["seconds"] == {}
    text = report.section(measure.described("pages", [found]), markdown=False)
    assert "Bytes: static page " in text
    assert "so not compared with: no browser is found" in text

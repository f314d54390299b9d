"""How fast the playground draws while it trains, and how soon it answers a click."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.browser import NoBrowserError, launched
from benchmarks.timing import Pair
from probes.playground.messages import frame
from probes.playground.session import Perturbation, Session
from probes.playground.setup import Setup

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["playground"]

_DEPTH, _WIDTH, _STEPS, _PERCENT = 8, 8, 5, 10
_SHARED, _ALONE, _CLICK = "the page", "loop without a page", "a click is answered"
_FRAMES = 100
_VIEW = {"width": 1280, "height": 900}


def playground(repeats: int) -> list[dict[str, Any]]:
    """The playground training a network of depth 8 and width 8, meant for 15 frames a second and answers within 0.2 s.

    Seconds a frame, of five steps, a map of 100 × 100 and 56 neurons, drawn in Chromium, against a loop that makes the
    same steps and frames and shows them to nobody; and seconds from a click on Pause until the page says Train. Between
    frames perturbations and step limits are measured, as ever.
    """
    return [compare(repeats, percent) for percent in (0, _PERCENT)]


def compare(repeats: int, percent: int) -> dict[str, Any]:
    """One case: layers at rest, or moved by so many percent of their norms."""
    case: dict[str, Any] = {"case": f"depth {_DEPTH}, width {_WIDTH}, layers moved by {percent} %"}
    seconds: dict[str, list[float]] = {_SHARED: [], _ALONE: [], _CLICK: []}
    try:
        with _opened() as page:
            for turn in range(1 + repeats):
                each = {_SHARED: _framed(page, percent), _CLICK: _paused(page), _ALONE: _alone(percent)}
                for name, value in each.items():
                    if turn:  # the first one warms up
                        seconds[name].append(value)
    except NoBrowserError as error:
        return case | {"seconds": {}, "compared": [], "not_installed": [str(error)]}
    return case | {"seconds": seconds, "compared": [Pair(_SHARED, _ALONE).compared(seconds)]}


@contextmanager
def _opened() -> Iterator[Page]:
    """The page of a playground in a process of its own, with the network that is meant."""
    command = [sys.executable, "-m", "probes", "playground", "--no-browser"]
    with launched() as browser, subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = re.search(r"http://\S+", process.stdout.readline())
            assert address is not None
            page = browser.new_page(viewport=_VIEW)  # type: ignore[arg-type]
            page.goto(address[0])
            page.locator("body[data-frames]").wait_for(state="attached")
            page.locator("[name=depth]").fill(str(_DEPTH))
            page.locator("[name=depth]").press("Tab")
            page.locator(f"#neurons[data-shape^='{_WIDTH}x'] canvas").nth(_DEPTH - 2).wait_for()
            yield page
        finally:
            process.send_signal(signal.SIGINT)


def _framed(page: Page, percent: int) -> float:
    """Seconds a frame in training."""
    page.locator("#all").fill(str(percent))
    page.locator("#run", has_text="Train").click()
    page.locator("#run", has_text="Pause").wait_for()
    begin, first = time.perf_counter(), _frames(page)
    while (seen := _frames(page)) < first + _FRAMES:
        page.wait_for_timeout(20)
    return (time.perf_counter() - begin) / (seen - first)


def _frames(page: Page) -> int:
    return int(page.locator("body").get_attribute("data-frames") or 0)


def _paused(page: Page) -> float:
    """Seconds from a click on Pause until the page has it, by the page's own clock."""
    seconds: float = page.evaluate(
        """() => new Promise(done => {
            const button = document.getElementById("run");
            const begin = performance.now();
            new MutationObserver((_, watching) => {
                if (button.textContent !== "Train") return;
                watching.disconnect();
                done((performance.now() - begin) / 1000);
            }).observe(button, { childList: true });
            button.click();
        })"""
    )
    return seconds


def _alone(percent: int) -> float:
    """Seconds for the same steps and maps in a plain loop."""
    session = Session(Setup(depth=_DEPTH, width=_WIDTH))
    perturbation = Perturbation([percent] * _DEPTH)
    begin = time.perf_counter()
    for _ in range(_FRAMES):
        session.train(_STEPS)
        frame(session, session.moved(perturbation) if perturbation else None, running=True)
    return (time.perf_counter() - begin) / _FRAMES

"""The playground as a reader meets it: build, train, move, save, load, and share a link."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.browser.accessibility import violations
from tests.browser.sessions import DESKTOP, PHONE, SCHEMES, View, overflow, watched
from tests.conftest import Probe

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow
views = pytest.mark.parametrize("view", [DESKTOP, PHONE], ids=["desktop", "phone"])
schemes = pytest.mark.parametrize("scheme", SCHEMES)


@contextmanager
def run_playground() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A playground as a process of its own, and its address; it ends by Ctrl-C."""
    command = [sys.executable, "-m", "probes", "playground", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            said = re.search(r"http://\S+", process.stdout.readline())
            assert said is not None
            yield process, said[0]
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130  # as after any Ctrl-C


@pytest.fixture(scope="module")
def address(browser: Browser) -> Iterator[str]:
    """Of one playground for all tests here."""
    with run_playground() as (_, address):
        yield address


@pytest.fixture
def opened(browser: Browser, address: str, view: View, scheme: str) -> Iterator[Page]:
    """Its page, ready."""
    with watched(browser, view, scheme, ours=host(address), permissions=["clipboard-write"]) as page:
        page.goto(address)
        ready(page)
        yield page


def host(address: str) -> str:
    """Host and port of an address."""
    return address.split("/")[2]


def ready(page: Page) -> None:
    """Wait for the first frame."""
    page.locator("body[data-frames]").wait_for(state="attached")


def trained(page: Page, steps: int) -> None:
    """Train for so many steps at least, and pause."""
    page.locator("#run", has_text="Train").click()
    while int(page.locator("#steps").inner_text().split()[1]) < steps:
        page.wait_for_timeout(50)
    page.locator("#run", has_text="Pause").click()
    page.locator("#run", has_text="Train").wait_for()


def field(page: Page, name: str, value: str) -> None:
    """Set a field of the network's form."""
    place = page.locator(f"#setup [name={name}]")
    if place.evaluate("place => place.tagName") == "SELECT":
        place.select_option(value)
    else:
        place.fill(value)
        place.press("Tab")


def test_it_says_what_it_is_and_what_to_do_first(opened: Page) -> None:
    assert (
        opened.get_by_role("heading", level=1).inner_text().startswith("How far may a network's layers move")
    )
    assert opened.locator("#guide").inner_text().startswith("First press Train")
    trained(opened, 100)
    assert "drag the slider" in opened.locator("#guide").inner_text()
    opened.locator("#all").fill("30")
    opened.locator("#guide", has_text="the same network, moved").wait_for()


@views
def test_the_whole_round(opened: Page, probe: Probe, tmp_path: Path) -> None:
    field(opened, "data", "blobs")
    field(opened, "depth", "3")
    field(opened, "width", "6")
    opened.locator("#neurons[data-shape='6x24,6x24']").wait_for()
    assert opened.locator("#neurons canvas").count() == 2
    trained(opened, 60)
    loss = opened.locator("#loss").inner_text()
    opened.locator("#all").focus()
    for _ in range(20):
        opened.keyboard.press("ArrowRight")  # half a percent each
    assert opened.locator("#all-value").inner_text() == "10 %"
    row = opened.locator("#readings tr", has_text="deep relative trust")
    row.get_by_text("0.331").wait_for()  # 1.1³ − 1
    opened.locator("#limits tr", has_text="Lemma 2").first.get_by_text("%").wait_for()
    files = []
    opened.on("download", lambda download: files.append(download))
    opened.locator("#save").click()
    while len(files) < 2:
        opened.wait_for_timeout(50)
    for file in files:
        file.save_as(tmp_path / file.suggested_filename)
    given = ["--data", tmp_path / "points.npz", "--etas", "0.01"]
    result = probe("run", tmp_path / "network.safetensors", *given, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    opened.locator("#reset").click()
    opened.locator("#steps", has_text=re.compile(r"step 0$")).wait_for()
    opened.locator("#load").set_input_files(tmp_path / "network.safetensors")
    opened.locator("#loss", has_text=loss).wait_for()
    assert overflow(opened) <= 0


def test_points_of_ones_own(opened: Page, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = [f"{x},{y},{'in' if x > y else 'out'}" for x, y in random.normal(size=(50, 2))]
    (tmp_path / "good.csv").write_text("\n".join(["x,y,side", *rows]))
    (tmp_path / "bad.csv").write_text("1,2,a\nthree,4,b\n")
    (tmp_path / "long.csv").write_text("1,2,a\n" * 5000)
    opened.locator("#csv").set_input_files(tmp_path / "good.csv")
    while opened.locator("#setup [name=data]").input_value() != "csv":
        opened.wait_for_timeout(50)
    for name, said in (("bad.csv", "row 2 of the CSV"), ("long.csv", "sample it")):
        opened.locator("#csv").set_input_files(tmp_path / name)
        opened.locator("#error", has_text=said).wait_for()
    opened.locator("#step").click()
    opened.locator("#steps", has_text="step 1").wait_for()


def test_what_is_out_of_range_is_said_and_nothing_is_lost(opened: Page) -> None:
    trained(opened, 20)
    steps = opened.locator("#steps").inner_text()
    field(opened, "depth", "99")
    opened.locator("#error", has_text="Layers: ").wait_for()
    assert opened.locator("#setup [name=depth]").evaluate("field => field.matches(':invalid')")
    opened.evaluate("() => socket.send('{')")
    opened.locator("#error", has_text="no JSON").wait_for()
    assert opened.locator("#steps").inner_text() == steps


def test_a_link_reproduces_a_state(browser: Browser, opened: Page, address: str) -> None:
    field(opened, "rule", "adam")
    field(opened, "seed", "3")
    trained(opened, 40)
    opened.locator("#all").fill("15")
    opened.locator("#link").click()
    opened.locator("#link", has_text="Copied").wait_for()
    standing = opened.locator("#standing").inner_text()
    with watched(browser, ours=host(address)) as other:
        other.goto(opened.url)
        other.locator("#steps", has_text=opened.locator("#steps").inner_text()).wait_for()
        assert other.locator("#standing").inner_text() == standing
        other.locator("#all-value", has_text="15 %").wait_for()
        assert other.locator("#setup [name=rule]").input_value() == "adam"


def test_a_link_says_that_what_was_loaded_is_not_in_it(opened: Page, tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("0,0,a\n1,1,b\n")
    opened.locator("#csv").set_input_files(tmp_path / "own.csv")
    while opened.locator("#setup [name=data]").input_value() != "csv":
        opened.wait_for_timeout(50)
    opened.locator("#link").click()
    opened.locator("#link", has_text="without what was loaded").wait_for()


def test_a_playground_that_has_ended_says_so_whatever_is_pressed(browser: Browser) -> None:
    with run_playground() as (process, address), watched(browser, ours=host(address)) as page:
        page.goto(address)
        ready(page)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130  # as after any Ctrl-C
        assert process.stdout is not None
        assert process.stdout.read().strip() == "probe: the playground has ended"
        for button in ("#error", "#run", "#step", "#reset"):
            if button != "#error":
                page.locator(button).click()
            page.locator("#error", has_text="has ended").wait_for()


def test_tabs_are_apart(browser: Browser, opened: Page, address: str) -> None:
    with watched(browser, ours=host(address)) as other:
        other.goto(address)
        ready(other)
        trained(other, 30)
        assert opened.locator("#steps").inner_text() == "step 0"


@views
@schemes
def test_it_can_be_used_by_everybody(opened: Page) -> None:
    trained(opened, 10)
    opened.locator("summary").click()
    opened.locator("#all").fill("50")
    opened.locator("#readings tr", has_text="deep relative trust").wait_for()
    assert violations(opened) == []
    assert overflow(opened) <= 0

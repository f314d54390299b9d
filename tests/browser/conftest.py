"""One browser for all tests of pages, and a watched page for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.browser import NoBrowserError, launched
from tests.browser.sessions import DESKTOP, View, watched
from tests.conftest import Probe
from tests.studies import mine

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


SQUARES = mine.__file__


# not of the whole session: Playwright's event loop would be other tests' too
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium, or the tests are skipped."""
    try:
        with launched() as browser:
            yield browser
    except NoBrowserError as error:
        pytest.skip(f"pages are tested in a browser: {error}")


@pytest.fixture
def view() -> View:
    """A desktop's window; tests parametrize it for others."""
    return DESKTOP


@pytest.fixture
def scheme() -> str:
    """Light colours; tests parametrize it for dark ones."""
    return "light"


@pytest.fixture
def page(browser: Browser, view: View, scheme: str) -> Iterator[Page]:
    """A page that fails the test where it complains or asks for anything outside of it."""
    with watched(browser, view, scheme) as page:
        yield page


@pytest.fixture(scope="session")
def report(probe: Probe, measured: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report on three checkpoints."""
    return written(probe, tmp_path_factory, "report", measured)


@pytest.fixture(scope="session")
def comparison(probe: Probe, measured: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of two runs side by side, of one network in two directions."""
    noise = tmp_path_factory.mktemp("noise") / "noise"
    result = probe("run", trained, "--direction", "noise", "--etas", "0.0001,0.001,0.01,0.1", "--out", noise)
    assert result.exit_code == 0, result.output
    return written(probe, tmp_path_factory, "compare", measured, noise)


@pytest.fixture(scope="session")
def study(probe: Probe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that takes no time."""
    return written(probe, tmp_path_factory, "study", f"{SQUARES}:Squares", "--jobs", 1)


def written(probe: Probe, folders: pytest.TempPathFactory, command: str, *given: object) -> Path:
    """The folder of pages that a command leaves."""
    out = folders.mktemp(command) / "out"
    result = probe(command, *given, "--out", out)
    assert result.exit_code == 0, result.output
    return out

"""One browser for all tests of pages, and a watched page for each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from benchmarks.browser import NoBrowserError, launched
from tests.browser.sessions import DESKTOP, View, watched

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


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

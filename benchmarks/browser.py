"""A browser of the machine's own, without a window: what pages are timed in, and tested in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # Playwright is an extra
    from playwright.sync_api import Browser

__all__ = ["NoBrowserError", "launched"]

_NAMES = ("chromium", "chromium-browser", "google-chrome")


class NoBrowserError(Exception):
    """There is none; the message says what to install."""


@contextmanager
def launched() -> Iterator[Browser]:
    """Chromium, for which no host has an address.

    Raises:
        NoBrowserError: Playwright is not installed, or no browser is found.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise NoBrowserError("Playwright is not installed: pip install -e '.[browser]'") from None
    program = find_browser()
    if program is None:
        raise NoBrowserError("no browser is found: install Chromium, or name one in PROBE_BROWSER")
    # root has no sandbox, which only users' processes can have
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    offline = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[offline, *sandbox])
        yield browser
        browser.close()


def find_browser() -> str | None:
    """The program that PROBE_BROWSER names, or else the first of Chromium's usual names on the PATH; None: none."""
    if "PROBE_BROWSER" in os.environ:
        return shutil.which(os.environ["PROBE_BROWSER"])
    return next((found for name in _NAMES if (found := shutil.which(name))), None)

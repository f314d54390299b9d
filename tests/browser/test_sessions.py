"""The check of the check: pages with one fault each, which is caught, and one without."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.browser import find_browser
from tests.browser.accessibility import violations
from tests.browser.sessions import DESKTOP, PHONE, SCHEMES, View, overflow, watched

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

SELF = "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; script-src 'unsafe-inline'\">"


def written(folder: Path, body: str, head: str = "") -> str:
    """The address of a page with that in it."""
    path = folder / "page.html"
    start = f"<!DOCTYPE html><html lang=en><meta charset=utf-8><title>Page</title>{head}"
    path.write_text(f"{start}<main><h1>Page</h1>{body}</main>", "utf-8")
    return path.as_uri()


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("<script src=http://example.invalid/a.js></script>", "asked for http://example.invalid/a.js"),
        ("<img alt=x src=https://example.invalid/a.png>", "asked for https://example.invalid/a.png"),
        ("<script>new WebSocket('ws://example.invalid/')</script>", "opened ws://example.invalid/"),
        ("<img alt=x src=missing.png>", "failed to load file:"),
        ("<script>console.error('broken')</script>", "console error: broken"),
        ("<script>console.warn('beware')</script>", "console warning: beware"),
        ("<script>throw new Error('thrown')</script>", "error in a script: .*thrown"),
        ("<script>Promise.reject(new Error('late'))</script>", "error in a script: .*late"),
        ("<script>alert(1)</script>", "a dialog: 1"),
        ("<script>window.open('about:blank')</script>", "another window"),
        (f"{SELF}<img alt=x src=data:image/png;base64,AAAA>", "Content Security Policy"),
    ],
)
def test_whatever_a_page_complains_of_or_asks_for_fails(
    browser: Browser, tmp_path: Path, body: str, complaint: str
) -> None:
    address = written(tmp_path, body)
    with pytest.raises(AssertionError, match=complaint), watched(browser) as page:
        page.goto(address)


def test_a_page_that_does_none_of_it_passes(page: Page, tmp_path: Path) -> None:
    (tmp_path / "script.js").write_text("document.title = 'read'")
    page.goto(written(tmp_path, "<script src=script.js></script><script>console.log('fine')</script>"))
    assert page.title() == "read"


def test_a_failure_of_the_test_itself_is_the_one_that_is_told(browser: Browser, tmp_path: Path) -> None:
    address = written(tmp_path, "<script>console.error('broken')</script>")

    def failing() -> None:
        with watched(browser) as page:
            page.goto(address)
            raise KeyError("own")

    with pytest.raises(KeyError, match="own"):
        failing()


def test_a_picture_without_words_is_a_violation(page: Page, tmp_path: Path) -> None:
    page.goto(written(tmp_path, "<img src='data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA='>"))
    [found] = violations(page)
    assert found.startswith("image-alt (critical): <img src")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_colours_are_those_of_the_scheme(page: Page, tmp_path: Path, scheme: str) -> None:
    faint = (
        "<style>@media (prefers-color-scheme: dark) { p { color: #eee } }</style>"  # on white, in the dark
    )
    page.goto(written(tmp_path, "<p>Words</p>", faint))
    assert [line.partition(" ")[0] for line in violations(page)] == (["color-contrast"] * (scheme == "dark"))


@pytest.mark.parametrize("view", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_windows_have_the_size_asked_for(page: Page, tmp_path: Path, view: View) -> None:
    page.goto(written(tmp_path, "", "<meta name=viewport content=width=device-width>"))
    assert page.evaluate("[innerWidth, innerHeight]") == [view.width, view.height]
    assert page.evaluate("matchMedia('(prefers-reduced-motion: reduce)').matches")


@pytest.mark.parametrize("view", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_what_is_wider_than_the_window_is_seen(page: Page, tmp_path: Path, view: View) -> None:
    wide = f"<div style='width: {view.width + 30}px; margin-left: -8px'>Wide</div>"
    page.goto(written(tmp_path, wide, "<meta name=viewport content=width=device-width>"))
    assert overflow(page) >= 30


def test_the_browser_is_the_one_that_was_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    monkeypatch.setenv("PROBE_BROWSER", str(own))
    assert find_browser() == str(own)
    monkeypatch.setenv("PROBE_BROWSER", str(tmp_path / "none"))
    assert find_browser() is None
    monkeypatch.delenv("PROBE_BROWSER")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_browser() is None
    own.rename(tmp_path / "google-chrome")
    assert find_browser() == str(tmp_path / "google-chrome")

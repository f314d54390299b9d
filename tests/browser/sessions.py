"""A browser's pages under watch: whatever they complain of, or ask of any machine, fails the test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # tests of pages are collected, and skipped, where Playwright is not installed
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Route

__all__ = ["DESKTOP", "PHONE", "SCHEMES", "Complaints", "View", "overflow", "watched"]

SCHEMES = ("light", "dark")
_LOCAL = ("file:", "data:", "blob:", "about:")


@dataclass(frozen=True)
class View:
    """A window's width and height in CSS pixels, and whether it is a phone's."""

    width: int
    height: int
    phone: bool = False


DESKTOP = View(1280, 900)
PHONE = View(375, 700, phone=True)


@dataclass
class Complaints:
    """What went wrong on pages, each in a sentence."""

    found: list[str] = field(default_factory=list)
    ours: str = ""

    def heard(self, message: ConsoleMessage) -> None:
        """Errors and warnings in the console: a breach of the page's content security policy is one."""
        if message.type in ("error", "warning", "assert"):
            self.found.append(f"console {message.type}: {message.text}")

    def routed(self, route: Route) -> None:
        """Only files, what stands in the page itself and what we serve may be read."""
        if route.request.url.startswith(_LOCAL) or (self.ours and route.request.url.startswith(self.ours)):
            route.continue_()
            return
        self.found.append(f"asked for {route.request.url}")
        route.abort()

    def check(self) -> None:
        """Fail with all of them.

        Raises:
            AssertionError: there are any.
        """
        assert not self.found, "\n".join(self.found)


@contextmanager
def watched(
    browser: Browser, view: View = DESKTOP, scheme: str = "light", ours: str = "", **options: Any
) -> Iterator[Page]:
    """A fresh page of a reader without a network, whose complaints fail what is inside at its end.

    Args:
        browser: a context of its own is made in it.
        view: the window's size.
        scheme: the colours that the reader prefers, ``light`` or ``dark``.
        ours: the beginning of addresses that a server of ours answers, from the host on.
        options: further ones of Playwright's ``new_context``.
    """
    complaints = Complaints(ours=f"http://{ours}" if ours else "")
    context = browser.new_context(
        viewport={"width": view.width, "height": view.height},
        color_scheme=scheme,  # type: ignore[arg-type]
        has_touch=view.phone,
        is_mobile=view.phone,
        reduced_motion="reduce",
        service_workers="block",
        **options,
    )
    try:
        page = _listen(context, complaints)
        yield page
        if options.get("java_script_enabled", True):  # without scripts nothing is under way
            page.evaluate("() => new Promise(requestAnimationFrame)")
    finally:
        context.close()
    complaints.check()


def overflow(page: Page) -> int:
    """By how many pixels a page is wider than the window, which a phone would shrink it to."""
    assert page.viewport_size is not None
    width: int = page.evaluate("document.scrollingElement.scrollWidth")
    return width - page.viewport_size["width"]


def _listen(context: BrowserContext, complaints: Complaints) -> Page:
    found = complaints.found
    context.set_default_timeout(10_000)
    context.route("**/*", complaints.routed)
    socket = complaints.ours.replace("http:", "ws:")
    if not socket:
        context.route_web_socket("**/*", lambda socket: found.append(f"opened {socket.url}"))
    else:
        elsewhere = re.compile(f"^(?!{re.escape(socket)})")
        context.route_web_socket(elsewhere, lambda socket: found.append(f"opened {socket.url}"))
    context.on("console", complaints.heard)
    context.on("weberror", lambda error: found.append(f"error in a script: {error.error}"))
    context.on("requestfailed", lambda request: found.append(f"failed to load {request.url}"))
    context.on("page", lambda page: found.append("another window") if len(context.pages) > 1 else None)

    def refuse(dialog: Any) -> None:
        found.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    context.on("dialog", refuse)
    return context.new_page()

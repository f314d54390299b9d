"""How heavy a report's page is, and how long until it is seen."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.browser import NoBrowserError, launched
from benchmarks.timing import Pair
from probes.cli.main import main

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["compare", "opened", "pages"]

_OURS, _STATIC = "report.html", "static page"
_FIRST, _WHOLE = "first paint", "all drawn"
_VIEW = {"width": 1280, "height": 900}

_WATCH_CANVASES = """(() => {
    window.lastDrawn = 0;
    const every = CanvasRenderingContext2D.prototype;
    for (const name of ["stroke", "fill", "fillRect", "fillText", "drawImage"]) {
        const own = every[name];
        every[name] = function (...given) { window.lastDrawn = performance.now(); return own.apply(this, given); };
    }
})()"""
_TIMES = """async () => {
    await Promise.all([...document.images].map(image => image.decode().catch(() => null)));
    const loaded = performance.now();
    const drawn = () => Math.max(loaded, window.lastDrawn);
    const pause = milliseconds => new Promise(done => setTimeout(done, milliseconds));
    while (performance.now() - drawn() < 500) await pause(50);  // a canvas may still be drawn
    const [first] = performance.getEntriesByName("first-contentful-paint");
    return [first.startTime, Math.max(first.startTime, drawn())];
}"""


def pages(repeats: int) -> list[dict[str, Any]]:
    """The page of a run in Chromium, meant to be under 2 MB and seen within a second.

    Seconds since the page was asked for, until something is painted and until the last canvas or picture is, every
    turn in a fresh context, against a page with nothing but the same figures as PNG.
    """
    return [compare(repeats, checkpoints=10, etas=100, layers=50)]


def compare(repeats: int, *, checkpoints: int, etas: int, layers: int) -> dict[str, Any]:
    """Make a run of that size, its report and the static page, and open both in turn; neither without a browser.

    Args:
        repeats: turns.
        checkpoints: of training.
        etas: of the grid, 0 among them.
        layers: weights and biases, an even number.
    """
    case: dict[str, Any] = {"case": f"{checkpoints} checkpoints, {etas} η, {layers} layers"}
    with tempfile.TemporaryDirectory() as name:
        report = _report(Path(name), checkpoints, etas, layers)
        files = {_STATIC: _static(report), _OURS: report / "report.html"}
        case["bytes"] = {what: path.stat().st_size for what, path in files.items()}
        try:
            seconds = opened(files, repeats)
        except NoBrowserError as error:
            return case | {"seconds": {}, "compared": [], "not_installed": [str(error)]}
    pairs = [Pair(f"{_OURS}: {until}", f"{_STATIC}: {until}") for until in (_FIRST, _WHOLE)]
    return case | {"seconds": seconds, "compared": [pair.compared(seconds) for pair in pairs]}


def _report(folder: Path, checkpoints: int, etas: int, layers: int) -> Path:
    """The folder of a report, by the commands themselves."""
    random = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = random.normal(size=(60, 6)) + 3 * np.eye(6)[y]
    np.savez(folder / "data.npz", x=x.astype(np.float32), y=y)
    data, network, run, report = (str(folder / part) for part in ("data.npz", "network", "run", "report"))
    training = {"--depth": layers // 2, "--width": 8, "--batch-size": 20, "--epochs": max(1, checkpoints - 1)}
    training |= {"--checkpoints": checkpoints}
    given = [word for option, value in training.items() for word in (option, str(value))]
    grid = ",".join(f"{eta:.6g}" for eta in np.geomspace(1e-4, 0.5, etas - 1))
    for command in (
        ["train", *given, "--residual", "--data", data, "--out", network],
        ["run", network, "--etas", grid, "--out", run],
        ["report", run, "--out", report],
    ):
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            main(command, standalone_mode=False)
    return Path(report)


def _static(report: Path) -> Path:
    """A page with the report's figures as pictures, and no more."""
    pictures = [
        f'<img alt="{path.stem}" src="data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}">'
        for path in sorted(report.glob("*.png"))
    ]
    path = report / "static.html"
    start = "<!DOCTYPE html><html lang=en><meta charset=utf-8><title>Figures</title><h1>Figures</h1>"
    path.write_text("\n".join([start, *pictures]), "utf-8")
    return path


def opened(files: dict[str, Path], repeats: int) -> dict[str, list[float]]:
    """Seconds until the first paint and until all is drawn, of each page in turn, after one turn that only warms up.

    Raises:
        NoBrowserError: there is none.
    """
    seconds: dict[str, list[float]] = {f"{name}: {until}": [] for name in files for until in (_FIRST, _WHOLE)}
    with launched() as browser:
        for turn in range(1 + repeats):
            for name, path in files.items():
                times = _times(browser, path)
                for until, milliseconds in zip((_FIRST, _WHOLE), times, strict=True):
                    if turn:
                        seconds[f"{name}: {until}"].append(milliseconds / 1000)
    return seconds


def _times(browser: Browser, path: Path) -> Sequence[float]:
    """Milliseconds until the first paint and until all is drawn."""
    context = browser.new_context(viewport=_VIEW)  # type: ignore[arg-type]
    try:
        page = context.new_page()
        page.add_init_script(_WATCH_CANVASES)
        page.goto(path.as_uri())
        times: Sequence[float] = page.evaluate(_TIMES)
        return times
    finally:
        context.close()

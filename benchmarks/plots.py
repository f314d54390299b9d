"""A benchmark's picture: seconds of every alternative with their spread, ratios, targets and rooflines."""

from __future__ import annotations

import statistics
import textwrap
from pathlib import Path
from typing import Any

import pandas as pd  # type: ignore[import-untyped, unused-ignore]
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmarks.records import comparisons, size_of
from figures import style
from figures.saving import FORMATS, save_figure

__all__ = ["draw", "plot"]

_ROW, _PER_CASE, _FOOT = 0.34, 0.52, 0.5  # inches
_OURS = ("probes", "slice, spectra")


def plot(found: dict[str, Any], path: Path) -> None:
    """Draw a benchmark's JSON into a file, and the numbers beside it.

    Raises:
        SystemExit: the file's ending is no format of a figure.
    """
    ending = path.suffix.removeprefix(".")
    if ending not in FORMATS:
        raise SystemExit(f"--plot {path}: its name must end in one of {', '.join(FORMATS)}")
    save_figure(draw(found), path.with_suffix(""), _frame(found), formats=(ending,))


def draw(found: dict[str, Any]) -> Figure:
    """One panel a case, at column width."""
    cases = found["cases"]
    rows = [len(case["seconds"]) for case in cases]
    height = _ROW * sum(rows) + _PER_CASE * len(cases) + _FOOT
    frame = _frame(found)
    with style.context():
        figure = Figure(figsize=(style.COLUMN_WIDTH, height), layout="constrained")
        axes = figure.subplots(len(cases), 1, squeeze=False, height_ratios=rows)[:, 0]
        for case, ax in zip(cases, axes, strict=True):
            _panel(ax, case, frame[frame["case"] == case["case"]])
        axes[-1].set_xlabel("seconds: medians, and every turn")
        handles = _legend(cases)
        if handles:
            figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _frame(found: dict[str, Any]) -> pd.DataFrame:
    """One row a time."""
    return pd.DataFrame(
        [
            {"case": case["case"], "alternative": name, "turn": turn, "seconds": seconds}
            for case in found["cases"]
            for name, times in case["seconds"].items()
            for turn, seconds in enumerate(times)
        ]
    )


def _is_ours(name: str) -> bool:
    return name.startswith(_OURS)


def _panel(ax: Axes, case: dict[str, Any], frame: pd.DataFrame) -> None:
    names = list(case["seconds"])
    blue, orange = style.category_colors(["ours", "peer"]).values()
    palette = {name: blue if _is_ours(name) else orange for name in names}
    shared = {"data": frame, "x": "seconds", "y": "alternative", "order": names, "ax": ax, "orient": "h"}
    sns.barplot(
        **shared,
        hue="alternative",
        palette=palette,
        estimator="median",
        errorbar=None,
        alpha=0.55,
        width=0.62,
    )
    sns.stripplot(**shared, color="0.15", size=2.2, jitter=False, legend=False)
    longest = float(frame["seconds"].max())
    for row, name in enumerate(names):
        own = case["seconds"][name]
        ax.annotate(
            _label(case, name, statistics.median(own)),
            (max([*own, *_marks(case, name).values()]), row),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=6.5,
        )
        for kind, place in _marks(case, name).items():
            ax.plot([place, place], [row - 0.42, row + 0.42], **_MARKS[kind])
    ax.set_yticks(range(len(names)), [textwrap.fill(name, 17) for name in names])
    ax.tick_params(axis="y", length=0)
    ax.set_xlim(0, 1.7 * longest)
    ax.set(xlabel="", ylabel="")
    ax.grid(visible=False, axis="y")
    ax.set_title(f"{case['case']}\n({size_of(case)})", loc="left", fontsize=7)


_MARKS: dict[str, dict[str, Any]] = {
    "target": {"color": "0.1", "linewidth": 1.6, "linestyle": (0, (1.2, 0.8)), "zorder": 5},
    "roofline": {"color": "0.1", "linewidth": 1.6, "linestyle": "-", "zorder": 5},
}
_MEANINGS = {"target": "target", "roofline": "its matrix products alone"}


def _marks(case: dict[str, Any], name: str) -> dict[str, float]:
    """Seconds of the target and of the roofline."""
    marks = {}
    for compared in comparisons(case):
        if compared["of"] == name and "target" in compared:
            marks["target"] = compared["target"] * statistics.median(case["seconds"][compared["to"]])
    bound = case.get("roofline", {}).get("bounds", {}).get(name)
    if bound is not None:
        marks["roofline"] = statistics.median(bound["seconds"])
    return marks


def _label(case: dict[str, Any], name: str, median: float) -> str:
    """Seconds, and the ratio to each peer, in their order from top to bottom."""
    ratios = [compared for compared in comparisons(case) if compared["of"] == name]
    seconds = f"{median:#.3g} s" if median < 100 else f"{median:.0f} s"
    return ", ".join([seconds, *(f"{compared['median']:.2f}×" for compared in ratios)])


def _legend(cases: list[dict[str, Any]]) -> list[Line2D]:
    used = {kind for case in cases for name in case["seconds"] for kind in _marks(case, name)}
    return [Line2D([], [], label=_MEANINGS[kind], **look) for kind, look in _MARKS.items() if kind in used]

"""Small multiples of a study: series with a band from their lowest to their highest seed, and lines beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd  # type: ignore[import-untyped, unused-ignore]
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style
from figures.legends import gathered_legend

__all__ = ["Panel", "Series", "draw_panels", "numbers_of_panels", "plot_panels"]

_MARKS = "os^DvPX*<>"
_MOST_COLORS = 8
"""So many can be told apart, whoever looks."""
_FEW_TICKS = 5
"""So many names fit beside each other."""


@dataclass(frozen=True)
class Series:
    """One line, or points alone, and a band around it.

    Attributes:
        label: in the legend; the same label has the same colour and mark in every panel.
        x: positions.
        middle: what the line shows; NaN where there is none.
        low: where the band begins; None for no band.
        high: where it ends.
        line: matplotlib's style of it; empty for points alone.
        mark: whether points are marked.
        shade: a place between 0 and 1 on one scale of colours, for series in order; None for a colour of its own.
    """

    label: str
    x: npt.ArrayLike
    middle: npt.ArrayLike
    low: npt.ArrayLike | None = None
    high: npt.ArrayLike | None = None
    line: str = "-"
    mark: bool = True
    shade: float | None = None


@dataclass(frozen=True)
class Panel:
    """One axes.

    Attributes:
        title: above it.
        x: what its x is.
        y: what its y is.
        series: what it shows.
        log_x: whether x is on a log axis.
        log_y: whether y is.
        levels: heights of dashed lines across it, by their label.
        places: positions of dotted lines up it, by their label.
        limits: of y; None for what the series need.
        ticks: what stands at x = 0, 1, …; None for numbers.
    """

    title: str
    x: str
    y: str
    series: Sequence[Series]
    log_x: bool = False
    log_y: bool = False
    levels: Mapping[str, float] = field(default_factory=dict)
    places: Mapping[str, float] = field(default_factory=dict)
    limits: tuple[float, float] | None = None
    ticks: Sequence[str] | None = None


def draw_panels(
    panels: Sequence[Panel | None], *, columns: int = 2, height: float = 2.1, same_heights: bool = False
) -> Figure:
    """All panels in a grid, with one legend.

    Args:
        panels: in the order of reading; None leaves a place empty.
        columns: how many side by side.
        height: of each, in inches.
        same_heights: whether those of a row have one y axis.
    """
    columns = min(columns, len(panels))
    width = style.COLUMN_WIDTH if columns == 1 else style.FULL_WIDTH
    with style.context():
        size = (width, -(-len(panels) // columns) * height + 0.5)
        figure = Figure(figsize=size, layout="constrained")
        shared: Literal["row", "none"] = "row" if same_heights else "none"
        grid = figure.subplots(-(-len(panels) // columns), columns, squeeze=False, sharey=shared)
        gathered_legend(figure, plot_panels(panels, [*grid.ravel()]))
    return figure


def plot_panels(panels: Sequence[Panel | None], grid: Sequence[Axes]) -> list[Axes]:
    """All panels on axes that there are, to have one legend; what is left of the axes is not seen.

    Args:
        panels: in the order of reading; None leaves a place empty.
        grid: as many axes or more.

    Returns:
        Those with a panel.
    """
    drawn = [panel for panel in panels if panel is not None]
    labels = list(dict.fromkeys(one.label for panel in drawn for one in panel.series))
    places = {label: k for k, label in enumerate(labels)}
    if len(labels) > _MOST_COLORS:  # else each label's in the first panel that shows it
        places = {}
        for panel in drawn:
            for k, one in enumerate(panel.series):
                places.setdefault(one.label, k)
    lines = list(dict.fromkeys(name for panel in drawn for name in (*panel.levels, *panel.places)))
    palette = list(
        style.category_colors([str(k) for k in range(max(places.values(), default=0) + 1)]).values()
    )
    colors = {label: palette[k % len(palette)] for label, k in places.items()}
    marks = {label: _MARKS[k % len(_MARKS)] for label, k in places.items()}
    greys = {name: str(0.15 + 0.45 * k / max(len(lines) - 1, 1)) for k, name in enumerate(lines)}
    axes = []
    for place, ax in enumerate(grid):
        shown = panels[place] if place < len(panels) else None
        if shown is None:
            ax.set_axis_off()
        else:
            _draw(ax, shown, colors, marks, greys)
            axes.append(ax)
    return axes


def _draw(
    ax: Axes,
    panel: Panel,
    colors: Mapping[str, style.RGB],
    marks: Mapping[str, str],
    greys: Mapping[str, str],
) -> None:
    for one in panel.series:
        x, middle = np.asarray(one.x, dtype=float), np.asarray(one.middle, dtype=float)
        color: Any = colors[one.label]
        if one.shade is not None:
            color = style.shade(one.shade)
        if one.low is not None and one.high is not None:
            ends = np.asarray(one.low, dtype=float), np.asarray(one.high, dtype=float)
            if one.line:
                ax.fill_between(x, *ends, color=color, alpha=0.18, linewidth=0)
            else:
                ax.vlines(x, *ends, color=color, linewidth=0.8, alpha=0.6)
        mark = marks[one.label] if one.mark else ""
        ax.plot(x, middle, color=color, linestyle=one.line or "none", marker=mark, label=one.label)
    for name, height in panel.levels.items():
        ax.axhline(height, color=greys[name], linestyle="--", linewidth=0.8, label=name)
    for name, place in panel.places.items():
        ax.axvline(place, color=greys[name], linestyle=":", linewidth=1.0, label=name)
    ax.set_xscale(_scale(panel.log_x, [*(one.x for one in panel.series), [*panel.places.values()]]))
    ax.set_yscale(_scale(panel.log_y, [*(one.middle for one in panel.series), [*panel.levels.values()]]))
    ax.set(xlabel=panel.x, ylabel=panel.y, title=panel.title)
    if panel.ticks is not None:
        look: dict[str, Any] = {} if len(panel.ticks) < _FEW_TICKS else {"rotation": 50, "ha": "right"}
        ax.set_xticks(range(len(panel.ticks)), panel.ticks, fontsize=6, **look)
    if panel.limits is not None:
        ax.set_ylim(*panel.limits)


def _scale(wanted: bool, values: Sequence[Any]) -> Literal["log", "linear"]:
    """A log axis only where there is a number for it to show."""
    there = any((np.asarray(some, dtype=float) > 0).any() for some in values)
    return "log" if wanted and there else "linear"


def numbers_of_panels(panels: Sequence[Panel | None]) -> pd.DataFrame:
    """What ``draw_panels`` draws: a row a point, and one for each line across or up a panel."""
    rows: list[dict[str, Any]] = []
    for panel in panels:
        if panel is None:
            continue
        common = {"panel": panel.title.replace("\n", ", "), "x_name": panel.x, "y_name": panel.y}
        for one in panel.series:
            x, middle = np.atleast_1d(one.x), np.atleast_1d(one.middle)
            low = np.full(len(x), np.nan) if one.low is None else np.atleast_1d(one.low)
            high = np.full(len(x), np.nan) if one.high is None else np.atleast_1d(one.high)
            points = zip(x, middle, low, high, strict=True)
            rows += [
                common | {"series": one.label} | dict(zip(_POINT, point, strict=True)) for point in points
            ]
        rows += [common | {"series": name, "x": np.nan, "y": height} for name, height in panel.levels.items()]
        rows += [common | {"series": name, "x": place, "y": np.nan} for name, place in panel.places.items()]
    return pd.DataFrame(rows, columns=["panel", "series", "x_name", "y_name", *_POINT])


_POINT = ("x", "y", "low", "high")

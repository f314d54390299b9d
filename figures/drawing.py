"""How every figure draws a curve, honestly: what cannot be drawn on its axes is marked at their edge."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures import style
from figures.curves import Curve
from figures.zeros import mark_zero

__all__ = [
    "BELOW_NOISE",
    "CHECKPOINT",
    "EDGE",
    "MEASURED_LIMIT",
    "OVERFLOW",
    "axes_or_new",
    "draw_curve",
    "in_style",
    "mark_edge",
    "note_if_empty",
    "set_log_limits",
]

OVERFLOW = "overflow"
BELOW_NOISE = "below noise floor"
CHECKPOINT = "checkpoint"
MEASURED_LIMIT = "measured step limit: the loss is back at its start"
EDGE = "mark at the edge"
_MARK_HEIGHT, _MARK_SPACING = 0.975, 0.04  # in shares of the axes' height

P = ParamSpec("P")


def in_style(plot: Callable[P, Axes]) -> Callable[P, Axes]:
    """Give a plot function without ``ax`` this project's style; with one, the caller's own style stays."""
    signature = inspect.signature(plot)

    @functools.wraps(plot)
    def styled(*args: P.args, **kwargs: P.kwargs) -> Axes:
        if signature.bind(*args, **kwargs).arguments.get("ax") is not None:
            return plot(*args, **kwargs)
        with style.context():
            return plot(*args, **kwargs)

    return styled


def axes_or_new(ax: Axes | None) -> Axes:
    """``ax`` as it is, or the axes of a new figure, one column wide."""
    if ax is not None:
        return ax
    return Figure(figsize=(style.COLUMN_WIDTH, 2.8), layout="constrained").subplots()


def draw_curve(
    ax: Axes,
    curve: Curve,
    *,
    color: Any,
    overflow: str = OVERFLOW,
    zero: str = "zero",
    marks: bool = True,
    **line: Any,
) -> list[Line2D]:
    """Draw the points of ``curve``: a line, hollow below the noise floor, a triangle where it overflows.

    Zeros that are marked wait for :func:`figures.zeros.show_zeros`.

    Args:
        ax: where.
        curve: what.
        color: of all its parts.
        overflow: the legend's word for the triangle at the upper edge.
        zero: the legend's word for the strip of zeros.
        marks: whether there are triangles and zeros.
        line: further properties of the line, such as ``label``.

    Returns:
        The artists: the line, and where needed the hollow points, the triangles and the zeros.
    """
    solid = curve.shown & ~curve.below_noise
    placed = curve.placed
    properties: dict[str, Any] = {"marker": ".", "markersize": 2.0, **line}
    artists = ax.plot(curve.x[placed], np.where(solid, curve.y, np.nan)[placed], color=color, **properties)
    if curve.below_noise.any():
        hollow = np.where(curve.below_noise, curve.y, np.nan)[placed]
        artists += ax.plot(
            curve.x[placed],
            hollow,
            color=color,
            marker="o",
            markersize=2.8,
            markerfacecolor="white",
            markeredgewidth=0.6,
            linewidth=0.5,
            linestyle=":",
            alpha=0.7,
            label=_once(ax, BELOW_NOISE),
        )
    if marks:
        artists += [mark_edge(ax, float(x), color=color, label=overflow) for x in curve.x[curve.marked_above]]
        artists += [
            mark_zero(ax, float(x), color=color, marker=properties["marker"], label=zero)
            for x in curve.x[curve.marked_below]
        ]
    return artists


def mark_edge(ax: Axes, x: float, *, color: Any, label: str, hollow: bool = False) -> Line2D:
    """A triangle at the upper edge: the value at ``x`` is there, but beyond any axis.

    It is hollow where the value is finite, and would fit on a taller axis.

    Marks at the same ``x`` are put one under the other, so that none hides another.
    """
    taken = sum(line.get_gid() == EDGE and float(np.asarray(line.get_xdata())[0]) == x for line in ax.lines)
    height = _MARK_HEIGHT - _MARK_SPACING * taken
    (mark,) = ax.plot(
        [x],
        [height],
        transform=ax.get_xaxis_transform(),
        linestyle="none",
        marker="^",
        markersize=4.0,
        color=color,
        markerfacecolor="none" if hollow else color,
        markeredgecolor=color if hollow else "white",
        markeredgewidth=0.8 if hollow else 0.4,
        zorder=5,
        gid=EDGE,
        label=_once(ax, label),
    )
    return mark


def _once(ax: Axes, label: str) -> str:
    """``label`` for the first artist that bears it, and matplotlib's "not in the legend" for the others."""
    return "_" + label if any(line.get_label() == label for line in ax.lines) else label


def set_log_limits(ax: Axes, curves: Iterable[Curve], *, lower: float, upper: float) -> None:
    """Show at least ``lower`` to ``upper`` on the log y axis, and all decades that the curves reach beyond.

    What ``ax`` showed before, if it held something, stays in view. Where the curves are cut, the axis ends there.
    """
    curves = list(curves)
    end = min((curve.cut for curve in curves), default=math.inf)
    ends = [lower, upper]
    if not ax.get_autoscaley_on():
        ends += [end for end in ax.get_ylim() if end > 0]
    for values in (curve.y[curve.shown] for curve in curves):
        if values.size:
            decades = math.floor(math.log10(values.min())), math.ceil(math.log10(values.max()))
            ends += [10.0 ** min(max(decade, -307), 308) for decade in decades]  # there are no floats beyond
    ax.set_ylim(min(ends), min(max(ends), end))


def note_if_empty(ax: Axes, curves: Iterable[Curve], text: str) -> None:
    """Write ``text`` into axes that have nothing to show, so that they are not taken for a mistake."""
    if not any(curve.shown.any() or curve.marked_below.any() for curve in curves):
        ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color="0.4")

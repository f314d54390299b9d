"""Zeros on a log axis, which has no place for them: a strip below the data, marked 0."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import Locator

__all__ = ["ZERO_STRIP", "mark_zero", "show_zeros"]

ZERO_STRIP = "strip of zeros"
_ROW, _MARGIN = 0.045, 0.03  # in shares of the axes' height
_HIGHEST = 0.35


def mark_zero(ax: Axes, x: float, *, color: Any, marker: str, label: str) -> Line2D:
    """A zero at ``x``, to be put into its strip by :func:`show_zeros`.

    Args:
        ax: whose y axis is logarithmic.
        x: where.
        color: of its series.
        marker: of its series; a dash where its points have none.
        label: what the legend says of the strip.
    """
    (mark,) = ax.plot(
        [x],
        [0.0],
        transform=ax.get_xaxis_transform(),
        linestyle="none",
        marker=marker or "_",
        markersize=3.5,
        color=color,
        zorder=5,
        gid=ZERO_STRIP,
        label=f"_{label}",
    )
    return mark


def show_zeros(axes: Iterable[Axes]) -> None:
    """Lift the data off the lower edge, and put all zeros into a grey strip below them.

    Each series has a row of its own there, so that none hides another. Where there is no zero nothing changes.

    Args:
        axes: one, or all that share their y axis; everything else is drawn already.
    """
    axes = list(axes)
    marks = {ax: [line for line in ax.lines if line.get_gid() == ZERO_STRIP] for ax in axes}
    rows = list(dict.fromkeys(_series(mark) for own in marks.values() for mark in own))
    if not rows:
        return
    step = min(_ROW, (_HIGHEST - _MARGIN) / len(rows))
    height = _MARGIN + step * len(rows)
    lowest = _lift(axes, height)
    for ax, own in marks.items():
        for mark in own:
            place = height - _MARGIN / 2 - step * (rows.index(_series(mark)) + 0.5)
            mark.set_ydata([place])
        _draw_strip(ax, height, own)
        _start_ticks_at(ax, lowest)


def _series(mark: Line2D) -> tuple[Any, Any]:
    return str(mark.get_color()), mark.get_marker()


def _lift(axes: Sequence[Axes], height: float) -> float:
    """Make room below the data; returns where they begin."""
    for ax in axes:
        ax.autoscale_view(scalex=False)  # no more than the data take, if a strip was there before
    ends = [end for ax in axes for end in ax.get_ylim()]
    low, high = math.log10(min(ends)), math.log10(max(ends))
    for ax in axes:
        ax.set_ylim(10.0 ** max((low - height * high) / (1 - height), -307), 10.0**high, auto=None)
    return float(10.0**low)


def _draw_strip(ax: Axes, height: float, marks: Sequence[Line2D]) -> None:
    for artist in [one for one in (*ax.patches, *ax.texts) if one.get_gid() == ZERO_STRIP]:
        artist.remove()
    label = str(marks[0].get_label())[1:] if marks else "_"
    look: dict[str, Any] = {"facecolor": "0.92", "edgecolor": "0.6", "linewidth": 0.4}
    strip = Rectangle(
        (0, 0), 1, height, transform=ax.transAxes, zorder=1, gid=ZERO_STRIP, label=label, **look
    )
    ax.add_patch(strip)
    if ax.yaxis.get_tick_params().get("labelleft", True):
        ax.annotate(
            "0",
            (0.0, height / 2),
            (-5, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize="medium",
            gid=ZERO_STRIP,
        )


class _From(Locator):
    """The ticks of another locator that are not below ``lowest``."""

    def __init__(self, inner: Locator, lowest: float, axis: Axis) -> None:
        self.inner, self.lowest, self.shown_on = inner, lowest, axis

    def __call__(self) -> list[float]:
        return self.tick_values(*self.shown_on.get_view_interval())

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        return [tick for tick in self.inner.tick_values(max(vmin, self.lowest), vmax) if tick >= self.lowest]


def _start_ticks_at(ax: Axes, lowest: float) -> None:
    for get, put in (
        (ax.yaxis.get_major_locator, ax.yaxis.set_major_locator),
        (ax.yaxis.get_minor_locator, ax.yaxis.set_minor_locator),
    ):
        locator = get()
        put(_From(locator.inner if isinstance(locator, _From) else locator, lowest, ax.yaxis))

"""The limits on the step through training: Lemma 2's, calibrated, the curvature's, predicted, certified, measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd  # type: ignore[import-untyped, unused-ignore]
import xarray as xr
from matplotlib.axes import Axes

from figures import style
from figures.curves import Curve, table
from figures.drawing import axes_or_new, draw_curve, in_style, note_if_empty
from figures.labels import Progress, checkpoint_names, set_progress_axis, training_progress
from figures.legends import legend_above
from figures.zeros import show_zeros

__all__ = [
    "INFINITE",
    "UNREACHED",
    "ZERO",
    "draw_arrows",
    "numbers_of_step_limits",
    "plot_step_limits",
    "unreached_limits",
]

_LIMITS = {
    # variable: (label, marker, line)
    "lemma2": ("Lemma 2", "s", "--"),
    "calibrated": ("Lemma 2, calibrated", "D", "-"),
    "curvature": ("slice curvature", "v", "-."),
    "predicted": ("predicted from two gradients", "^", ":"),
    "certified": ("certified (of its examples)", "P", (0, (1, 2.5))),
    "measured": ("measured", "o", "-"),
}
UNREACHED = "measured is above (end of search)"
ZERO = "limit is 0: no step at all"
INFINITE = "no limit (infinite)"


@in_style
def plot_step_limits(limits: xr.Dataset, *, ax: Axes | None = None, legend: bool = True) -> Axes:
    """Each limit on η against training, on a log axis.

    Where the loss had not come back to its start when the search ended, the measured limit is an arrow
    upwards from the largest η searched. A limit of zero is in a strip below the others, an infinite one
    a triangle at the upper edge. Where there is none, such as the curvature's where it is negative, the line has a
    gap.

    Args:
        limits: ``lemma2``, ``calibrated``, ``curvature``, ``predicted``, ``certified``, ``measured`` and
            ``searched_to`` (checkpoint); those missing are left out.
        ax: where to draw; None for a new figure.
        legend: whether to write one above the axes.
    """
    ax = axes_or_new(ax)
    ax.set_yscale("log")
    progress = training_progress(limits)
    curves = _curves(limits, progress)
    colors = style.category_colors(list(_LIMITS))
    colors["measured"] = (0.0, 0.0, 0.0)
    for curve in curves:
        if curve.series == "searched_to":
            draw_arrows(ax, curve)
            continue
        label, marker, line = _LIMITS[curve.series]
        color = colors[curve.series]
        look: dict[str, Any] = {"marker": marker, "markersize": 3, "linestyle": line, "label": label}
        draw_curve(ax, curve, color=color, overflow=INFINITE, zero=ZERO, **look)
    set_progress_axis(ax, progress)
    ax.set_ylabel("step limit on η")
    note_if_empty(ax, curves, "no step limit is known")
    show_zeros([ax])
    if legend:
        legend_above(ax)
    return ax


def numbers_of_step_limits(limits: xr.Dataset) -> pd.DataFrame:
    """What ``plot_step_limits`` draws, one row a point."""
    return table(_curves(limits, training_progress(limits)))


def _curves(limits: xr.Dataset, progress: Progress) -> list[Curve]:
    """A curve for each limit, and one for where the search ended without finding the measured one."""
    values = {name: np.asarray(limits[name].values, dtype=np.float64) for name in _LIMITS if name in limits}
    if "certified" in values and np.isnan(values["certified"]).all():
        del values["certified"]  # not measured: only some networks and losses have it
    if "searched_to" in limits and "measured" in values:
        values["searched_to"] = unreached_limits(limits)
    names = tuple(checkpoint_names(limits))
    common: dict[str, Any] = {"checkpoint": names, "log_x": False, "mark_all": True}
    curves = [Curve(name, progress.values, y, progress.name, "eta", **common) for name, y in values.items()]
    return [
        replace(curve, kind="lower limits") if curve.series == "searched_to" else curve for curve in curves
    ]


def unreached_limits(limits: xr.Dataset) -> npt.NDArray[np.float64]:
    """How far was searched (checkpoint) where no limit was found; NaN elsewhere."""
    measured, end = (
        np.asarray(limits[name].values, dtype=np.float64) for name in ("measured", "searched_to")
    )
    return np.where(np.isnan(measured), end, np.nan)


def draw_arrows(ax: Axes, curve: Curve, *, color: Any = "black", label: str = UNREACHED) -> None:
    """Lower limits: a hollow point at the last η searched, with an arrow upwards."""
    if curve.shown.any():
        x, y = curve.x[curve.shown], curve.y[curve.shown]
        look: dict[str, Any] = {
            "color": color,
            "markersize": 3.5,
            "markerfacecolor": "white",
            "elinewidth": 0.8,
        }
        ax.errorbar(x, y, yerr=y, lolims=True, fmt="o", label=label, zorder=4, **look)

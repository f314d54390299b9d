"""What stands on the curves of slices: step limits, Lemma 2's and the measured one, and what rounding may change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes

from figures import style
from figures.curves import Curve
from figures.drawing import MEASURED_LIMIT
from figures.labels import checkpoint_names
from trust import measurements as variables

__all__ = [
    "Limit",
    "draw_error_bars",
    "draw_limits",
    "draw_measured_limits",
    "error_curves",
    "limit_curves",
    "measured_limit_curves",
]

Limit = float | xr.DataArray | npt.NDArray[np.float64] | None
"""A limit on η: one for all checkpoints, one for each, or none."""

_SEEN = 0.02
"""A smaller share of a value is no bar that could be seen on a log axis."""
_LEMMA2 = "Lemma 2's limit"
_BARS = "what rounding may change (float64 spot check)"


def limit_curves(measurements: xr.Dataset, limit: Limit) -> list[Curve]:
    """The vertical lines, as curves with no y: one for each checkpoint, or one for all."""
    if limit is None:
        return []
    names = checkpoint_names(measurements)
    values = np.atleast_1d(np.asarray(limit, dtype=np.float64))
    if len(set(values.tolist())) == 1:
        names, values = [""], values[:1]
    none = np.full(1, np.nan)
    return [
        Curve(_LEMMA2, values[k : k + 1], none, "eta", "", checkpoint=name, kind="vertical line")
        for k, name in enumerate(names)
    ]


def draw_limits(ax: Axes, curves: Sequence[Curve]) -> None:
    """Grey where all agree to the eye (one per cent), else each in its checkpoint's colour."""
    places = [float(curve.x[0]) for curve in curves if curve.placed[0]]
    agree = bool(places) and max(places) <= 1.01 * min(places)
    look: dict[str, Any] = {"linestyle": (0, (1, 1.2)), "linewidth": 1.0, "zorder": 1.5, "label": _LEMMA2}
    for curve, color in zip(curves, style.checkpoint_colors(len(curves)), strict=True):
        if curve.placed[0]:
            ax.axvline(float(curve.x[0]), color="0.3" if agree else color, **look)
            look["label"] = "_"


def measured_limit_curves(curves: Sequence[Curve], limit: Limit) -> list[Curve]:
    """A point on each checkpoint's curve at its limit, where the line between two measured points has it.

    The loss is there what it is at η = 0, of which it is the limit. Not drawn where there is no limit, or none on a
    log axis, and where another curve does not reach so far.
    """
    if limit is None:
        return []
    places = np.broadcast_to(np.asarray(limit, dtype=np.float64), len(curves))
    return [
        Curve(
            "measured step limit",
            np.array([place]),
            np.array([_height(curve, place)]),
            curve.x_name,
            curve.y_name,
            checkpoint=curve.checkpoint,
            layer=curve.layer,
            kind="points",
        )
        for curve, place in zip(curves, places, strict=True)
    ]


def _height(curve: Curve, place: float) -> float:
    """Of a curve at a place."""
    if curve.y_name == variables.LOSS and curve.x.size and curve.x[0] == 0:
        return float(curve.y[0])
    shown = curve.shown
    if not (shown.any() and curve.x[shown].min() <= place <= curve.x[shown].max()):
        return float("nan")
    return float(np.exp(np.interp(np.log(place), np.log(curve.x[shown]), np.log(curve.y[shown]))))


def draw_measured_limits(ax: Axes, points: Sequence[Curve]) -> None:
    """A diamond in its checkpoint's colour for each that can be drawn."""
    label = MEASURED_LIMIT
    for curve, color in zip(points, style.checkpoint_colors(len(points)), strict=True):
        if curve.shown.any():
            look: dict[str, Any] = {
                "color": color,
                "markeredgecolor": "black",
                "markeredgewidth": 0.6,
                "label": label,
            }
            ax.plot(curve.x, curve.y, linestyle="none", marker="D", markersize=4.2, zorder=5, **look)
            label = "_"


def error_curves(measurements: xr.Dataset, summary: xr.Dataset, layer: str) -> list[Curve]:
    """For each checkpoint what rounding may change of a layer's breakdown, at the η that were checked."""
    if "change_error" not in summary:
        return []
    x = np.asarray(measurements[variables.ETA].values, dtype=np.float64)
    values = summary["change_error"].sel(layer=layer).transpose("checkpoint", "eta").values
    common: dict[str, Any] = {"layer": layer, "kind": "error bars"}
    return [
        Curve(_BARS, x[known], row[known], "eta", variables.GRADIENT_CHANGE_ERROR, checkpoint=name, **common)
        for name, row in zip(checkpoint_names(measurements), values, strict=True)
        for known in [np.isfinite(row)]
    ]


def draw_error_bars(ax: Axes, curves: Sequence[Curve], errors: Sequence[Curve]) -> None:
    """A pale bar around each checked point, where it can be seen."""
    label = _BARS
    colors = style.checkpoint_colors(len(curves))
    for curve, error, color in zip(curves, errors, colors, strict=False):
        values = dict(zip(curve.x.tolist(), curve.y.tolist(), strict=True))
        for x, half in zip(error.x.tolist(), error.y.tolist(), strict=True):
            y = values[x]
            if y > 0 and half >= _SEEN * y:
                # on a log axis a bar down to 0 has no end
                ends = max(y - half, y / 100), y + half
                ax.vlines(x, *ends, color=color, linewidth=3.0, alpha=0.35, zorder=1.8, label=label)
                label = "_"

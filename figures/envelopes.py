"""Envelopes: what was measured and what each claim allows, along one slice.

Bounds reach 1e300 and beyond, so they arrive as log10 and are drawn on a linear axis of log10, ticked as
powers of ten.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from figures import style
from figures.curves import Curve
from figures.drawing import draw_curve, note_if_empty
from figures.labels import checkpoint_names, checkpoint_position, claim_label

__all__ = ["Envelopes", "any_envelope", "draw_envelopes", "envelope_curves"]

Envelopes = Mapping[str, xr.Dataset]
"""For each claim's id ``log10_measured``, ``log10_measured_median`` and ``log10_bound``."""

_WORST, _MEDIAN, _BOUND = "log10_measured", "log10_measured_median", "log10_bound"
_STYLES: Sequence[Any] = ("-", (0, (4, 1.5)), (0, (4, 1.2, 1, 1.2)), (0, (1, 1)))


def any_envelope(envelopes: Envelopes) -> xr.Dataset:
    """One of them, which has the coordinates of all.

    Raises:
        ValueError: there is none.
    """
    if not envelopes:
        raise ValueError("there is no claim to draw: give at least one envelope")
    return next(iter(envelopes.values()))


def envelope_curves(envelopes: Envelopes, checkpoint: str | int, layer: str = "") -> list[Curve]:
    """What was measured, once for all claims that speak of the same left side, then each claim's bound."""
    first = any_envelope(envelopes)
    name = checkpoint_names(first)[checkpoint_position(first, checkpoint)]
    measured: list[Curve] = []
    bounds: list[Curve] = []
    seen: list[npt.NDArray[np.float64]] = []
    for claim, envelope in envelopes.items():
        part = envelope.isel(checkpoint=checkpoint_position(envelope, checkpoint))
        part = part.sel(layer=layer) if layer else part
        x = np.asarray(part["eta"].values, dtype=np.float64)
        values = {key: np.asarray(part[key].values, dtype=np.float64) for key in (_WORST, _MEDIAN, _BOUND)}
        if not any(np.array_equal(values[_WORST], other, equal_nan=True) for other in seen):
            suffix = f" ({claim_label(claim)})" if seen else ""
            seen.append(values[_WORST])
            for key, word in ((_WORST, "measured, worst example"), (_MEDIAN, "measured, median")):
                curve = Curve(
                    word + suffix, x, values[key], "eta", key, checkpoint=name, layer=layer, log_y=False
                )
                measured.append(curve)
        bound = Curve(claim, x, values[_BOUND], "eta", _BOUND, checkpoint=name, layer=layer, log_y=False)
        bounds.append(bound)
    return measured + bounds


def draw_envelopes(ax: Axes, curves: Sequence[Curve], claims: Sequence[str]) -> None:
    """What was measured in black, with a band from the median to the worst, and a line for each claim."""
    ax.set_xscale("log")
    colors = style.category_colors(claims)
    greys = ["0.0", "0.45", "0.65"]
    left = [curve for curve in curves if curve.y_name != _BOUND]
    for k, (worst, median) in enumerate(zip(left[::2], left[1::2], strict=True)):
        grey = greys[min(k, len(greys) - 1)]
        both = worst.shown & median.shown
        ax.fill_between(worst.x, median.y, worst.y, where=both.tolist(), color=grey, alpha=0.15, linewidth=0)
        draw_curve(ax, worst, color=grey, label=worst.series)
        draw_curve(ax, median, color=grey, linestyle="--", linewidth=0.8, marker="", label=median.series)
    for k, curve in enumerate(curve for curve in curves if curve.y_name == _BOUND):
        label = claim_label(curve.series)
        everywhere = bool(curve.overflowed.any()) and not curve.shown.any()
        shape = _STYLES[k % len(_STYLES)]
        draw_curve(
            ax,
            curve,
            color=colors[curve.series],
            linestyle=shape,
            linewidth=1.2,
            marker="",
            marks=not everywhere,
            overflow="bound turns infinite",
            label=f"{label}: infinite" if everywhere else label,
        )
    positive = [curve.x[curve.placed] for curve in curves]
    ends = np.concatenate(positive) if positive else np.empty(0)
    if ends.size and ends.min() < ends.max():
        ax.set_xlim(ends.min() / 1.3, ends.max() * 1.3)
    ax.xaxis.set_major_locator(LogLocator(numticks=7))
    ax.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    ax.yaxis.set_major_formatter(FuncFormatter(_power))
    ax.set_xlabel("perturbation strength η")
    note_if_empty(ax, curves, "nothing that can be drawn")


def _power(value: float, _: int | None = None) -> str:
    return f"$10^{{{value:g}}}$"

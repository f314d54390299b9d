"""Measured change against its bounds along the slice: of the function, and of each layer's Jacobian.

Bounds reach 1e300 and beyond, so they arrive as log10 and are drawn on a linear axis of log10, ticked as
powers of ten.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd  # type: ignore[import-untyped, unused-ignore]
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from figures import style
from figures.curves import Curve, table
from figures.drawing import axes_or_new, draw_curve, gathered_legend, legend_above, note_if_empty
from figures.labels import (
    checkpoint_names,
    checkpoint_position,
    checkpoint_title,
    claim_label,
    evenly_chosen,
    weight_layers,
)

__all__ = [
    "draw_function_bounds",
    "draw_jacobian_bounds",
    "numbers_of_function_bounds",
    "numbers_of_jacobian_bounds",
    "plot_function_bounds",
]

Envelopes = Mapping[str, xr.Dataset]

_WORST, _MEDIAN, _BOUND = "log10_measured", "log10_measured_median", "log10_bound"
_STYLES: Sequence[Any] = ("-", (0, (4, 1.5)), (0, (4, 1.2, 1, 1.2)), (0, (1, 1)))
_MOST_PANELS = 16


def plot_function_bounds(
    envelopes: Envelopes, *, checkpoint: str | int = -1, ax: Axes | None = None, legend: bool = True
) -> Axes:
    """The measured change of the output along one checkpoint's slice, and what each claim allows.

    The worst example is a solid black line, the median a dashed one, with a grey band between them. A bound
    that is infinite at every η has no line: the legend says ``infinite``.

    Args:
        envelopes: for each claim's id ``log10_measured``, ``log10_measured_median`` and ``log10_bound``
            over (checkpoint, eta).
        checkpoint: its name, or its position (−1 is the last).
        ax: where to draw; None for a new figure.
        legend: whether to write one above the axes.
    """
    ax = axes_or_new(ax)
    curves = _curves(envelopes, checkpoint)
    _draw(ax, curves, list(envelopes))
    ax.set_ylabel("relative change of the output")
    if legend:
        legend_above(ax)
    return ax


def draw_function_bounds(envelopes: Envelopes, *, checkpoints: Sequence[str | int] | None = None) -> Figure:
    """``plot_function_bounds`` for several checkpoints side by side.

    Args:
        envelopes: as for ``plot_function_bounds``.
        checkpoints: names or positions; None for the first, the middle and the last.
    """
    first = _any(envelopes)
    chosen = _chosen_checkpoints(envelopes, checkpoints)
    with style.context():
        figure = Figure(figsize=(style.FULL_WIDTH, 2.7), layout="constrained")
        row = figure.subplots(1, len(chosen), squeeze=False, sharey=True)[0]
        for ax, checkpoint in zip(row, chosen, strict=True):
            plot_function_bounds(envelopes, checkpoint=checkpoint, ax=ax, legend=False)
            ax.set_title(checkpoint_title(first, checkpoint_position(first, checkpoint)))
            ax.label_outer()
        gathered_legend(figure, row)
    return figure


def draw_jacobian_bounds(
    envelopes: Envelopes, *, checkpoint: str | int = -1, layers: Sequence[str] | None = None
) -> Figure:
    """Along one checkpoint's slice, the measured change of each layer's Jacobian and what each claim allows.

    Layer l's panel is of J_{l−1}, the Jacobian of the output with respect to that layer's input.

    Args:
        envelopes: as for ``plot_function_bounds``, over (checkpoint, eta, layer).
        checkpoint: its name, or its position (−1 is the last).
        layers: a small panel for each; None for all with something to show, or 16 evenly chosen ones of more.
    """
    everywhere = _layers(envelopes)
    numbers = {name: k + 1 for k, name in enumerate(everywhere)}
    shown = _chosen_layers(envelopes, checkpoint, layers)
    columns = min(4, len(shown))
    rows = math.ceil(len(shown) / columns)
    with style.context():
        figure = Figure(figsize=(style.FULL_WIDTH, 1.0 + 1.3 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for ax, layer in zip(grid.flat, shown, strict=False):
            _draw(ax, _curves(envelopes, checkpoint, layer), list(envelopes))
            ax.set_title(f"layer {numbers[layer]}", pad=2)
        for ax in grid.flat[len(shown) :]:
            ax.set_visible(False)
        first = _any(envelopes)
        some = "" if len(shown) == len(everywhere) else f" ({len(shown)} of {len(everywhere)} layers)"
        title = checkpoint_title(first, checkpoint_position(first, checkpoint))
        figure.suptitle(f"Jacobian of the output in each layer's input, {title}{some}", fontsize=8)
        for k, ax in enumerate(grid.flat[: len(shown)]):
            lowest = k + columns >= len(shown)
            ax.set_xlabel("perturbation strength η" if lowest else "")
            ax.tick_params(labelbottom=lowest)
            ax.set_ylabel("" if k % columns else "relative change")
        gathered_legend(figure, grid.flat[: len(shown)])
    return figure


def numbers_of_function_bounds(
    envelopes: Envelopes, *, checkpoints: Sequence[str | int] | None = None
) -> pd.DataFrame:
    """What ``draw_function_bounds`` draws (or ``plot_function_bounds``, for one checkpoint), a row a point."""
    chosen = _chosen_checkpoints(envelopes, checkpoints)
    return table(curve for checkpoint in chosen for curve in _curves(envelopes, checkpoint))


def numbers_of_jacobian_bounds(
    envelopes: Envelopes, *, checkpoint: str | int = -1, layers: Sequence[str] | None = None
) -> pd.DataFrame:
    """What ``draw_jacobian_bounds`` draws, one row a point."""
    shown = _chosen_layers(envelopes, checkpoint, layers)
    return table(curve for layer in shown for curve in _curves(envelopes, checkpoint, layer))


def _any(envelopes: Envelopes) -> xr.Dataset:
    if not envelopes:
        raise ValueError("there is no claim to draw: give at least one envelope")
    return next(iter(envelopes.values()))


def _layers(envelopes: Envelopes) -> list[str]:
    return weight_layers(_any(envelopes))


def _chosen_checkpoints(envelopes: Envelopes, checkpoints: Sequence[str | int] | None) -> list[str | int]:
    if checkpoints is not None:
        return list(checkpoints)
    return list(evenly_chosen(list(range(_any(envelopes).sizes["checkpoint"])), 3))


def _chosen_layers(envelopes: Envelopes, checkpoint: str | int, layers: Sequence[str] | None) -> list[str]:
    if layers is not None:
        return list(layers)
    everywhere = _layers(envelopes)
    drawn = [name for name in everywhere if any(c.shown.any() for c in _curves(envelopes, checkpoint, name))]
    return list(evenly_chosen(drawn or everywhere, _MOST_PANELS))


def _curves(envelopes: Envelopes, checkpoint: str | int, layer: str = "") -> list[Curve]:
    """What was measured, once for all claims that speak of the same left side, then each claim's bound."""
    first = _any(envelopes)
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


def _draw(ax: Axes, curves: Sequence[Curve], claims: Sequence[str]) -> None:
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
            overflow="infinite from here on",
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

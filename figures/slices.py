"""Loss and gradient breakdown along the slices, on log axes, a colour a checkpoint.

Drawn is also what the paper's figure lacks: the deep relative trust D(r(η)), which is claimed to bound the breakdown,
Lemma 2's limit on η, and on each curve the measured one. Curves that would squeeze all others are cut, and said to be.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd  # type: ignore[import-untyped, unused-ignore]
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from figures import style
from figures.curves import Curve, table
from figures.drawing import (
    axes_or_new,
    draw_curve,
    in_style,
    mark_edge,
    note_if_empty,
    set_log_limits,
)
from figures.labels import checkpoint_names, weight_layers
from figures.legends import legend_above
from figures.on_slices import (
    Limit,
    draw_error_bars,
    draw_limits,
    draw_measured_limits,
    error_curves,
    limit_curves,
    measured_limit_curves,
)
from trust import measurements as variables

__all__ = [
    "breakdown_curves",
    "frozen_breakdown_curves",
    "loss_curves",
    "numbers_of_breakdown",
    "numbers_of_loss",
    "plot_breakdown",
    "plot_frozen_breakdown",
    "plot_loss",
    "trust_curves",
]

_PAPER_RANGE = (1e-2, 1e6)
_TALLEST, _END = 1e15, 1e12
"""Where a curve is above the one, the axis ends at the other."""
_DISTANCE = "deep relative trust"
_ABOVE = f"above $10^{{{math.log10(_END):g}}}$, where the axis is cut"


@in_style
def plot_loss(
    measurements: xr.Dataset,
    *,
    lemma2_limit: Limit = None,
    measured_limit: Limit = None,
    ax: Axes | None = None,
    legend: bool = True,
) -> Axes:
    """The loss along each checkpoint's slice against η, on log axes.

    Args:
        measurements: with ``loss`` (checkpoint, eta).
        lemma2_limit: Lemma 2's limit on η, drawn as a vertical line; one for all checkpoints or one for each.
        measured_limit: the measured one, a diamond on each checkpoint's curve.
        ax: where to draw; None for a new figure.
        legend: whether to write one above the axes.
    """
    ax = axes_or_new(ax)
    curves = loss_curves(measurements)
    _draw_slices(ax, curves, measurements.sizes["checkpoint"])
    draw_limits(ax, limit_curves(measurements, lemma2_limit))
    draw_measured_limits(ax, measured_limit_curves(curves, measured_limit))
    ax.set_ylabel("loss (full batch)")
    _finish_slices(ax, curves, legend=legend)
    return ax


@in_style
def plot_breakdown(
    measurements: xr.Dataset,
    summary: xr.Dataset,
    *,
    layer: str | None = None,
    lemma2_limit: Limit = None,
    measured_limit: Limit = None,
    ax: Axes | None = None,
    legend: bool = True,
) -> Axes:
    """One layer's gradient breakdown ‖g̃_l − g_l‖ / ‖g_l‖ against η, with D(r(η)) dashed in black.

    Points that rounding alone may have made are hollow, and bars show what it may have changed where that can be seen;
    where the gradient overflows, a triangle stands at the top edge.

    Args:
        measurements: with ``gradient_change`` (checkpoint, eta, layer).
        summary: with ``deep_relative_trust`` (checkpoint, eta), ``above_noise`` and, where it was checked,
            ``change_error`` (checkpoint, eta, layer).
        layer: its name; None for the first weight matrix, which the paper shows.
        lemma2_limit: as for ``plot_loss``, and so is ``measured_limit``.
        measured_limit: see there.
        ax: where to draw; None for a new figure.
        legend: whether to write one above the axes.
    """
    ax = axes_or_new(ax)
    layer = weight_layers(measurements)[0] if layer is None else layer
    curves = breakdown_curves(measurements, summary, layer)
    trust = trust_curves(measurements, summary)
    limits = limit_curves(measurements, lemma2_limit)
    draw_error_bars(ax, curves, error_curves(measurements, summary, layer))
    draw_measured_limits(ax, measured_limit_curves(curves, measured_limit))
    _draw_breakdown(ax, curves, trust, limits, measurements, layer=layer, legend=legend)
    return ax


@in_style
def plot_frozen_breakdown(
    measurements: xr.Dataset,
    summary: xr.Dataset,
    *,
    layer: str | None = None,
    ax: Axes | None = None,
    legend: bool = True,
) -> Axes:
    """As ``plot_breakdown``, with every example's ∂ℓ/∂f held: what the Jacobians alone do to the gradient.

    Args:
        measurements: with ``frozen_residual_change`` (checkpoint, eta, layer).
        summary: with ``deep_relative_trust`` (checkpoint, eta) and ``frozen_above_noise`` (checkpoint, eta, layer).
        layer: as for ``plot_breakdown``.
        ax: where to draw; None for a new figure.
        legend: whether to write one above the axes.
    """
    ax = axes_or_new(ax)
    layer = weight_layers(measurements)[0] if layer is None else layer
    curves = frozen_breakdown_curves(measurements, summary, layer)
    trust = trust_curves(measurements, summary)
    _draw_breakdown(ax, curves, trust, [], measurements, layer=layer, legend=legend)
    return ax


def numbers_of_loss(
    measurements: xr.Dataset, *, lemma2_limit: Limit = None, measured_limit: Limit = None
) -> pd.DataFrame:
    """What ``plot_loss`` draws, one row a point."""
    curves = loss_curves(measurements)
    limits = limit_curves(measurements, lemma2_limit)
    return table([*curves, *limits, *measured_limit_curves(curves, measured_limit)])


def numbers_of_breakdown(
    measurements: xr.Dataset,
    summary: xr.Dataset,
    *,
    layer: str | None = None,
    lemma2_limit: Limit = None,
    measured_limit: Limit = None,
) -> pd.DataFrame:
    """What ``plot_breakdown`` draws, one row a point."""
    layer = weight_layers(measurements)[0] if layer is None else layer
    curves = breakdown_curves(measurements, summary, layer)
    errors = error_curves(measurements, summary, layer)
    others = [*trust_curves(measurements, summary), *limit_curves(measurements, lemma2_limit)]
    return table([*curves, *errors, *others, *measured_limit_curves(curves, measured_limit)])


def loss_curves(measurements: xr.Dataset) -> list[Curve]:
    """Each checkpoint's loss; a missing value after a finite one is an overflow."""
    values = measurements[variables.LOSS].transpose("checkpoint", "eta").values
    x = _etas(measurements)
    names = checkpoint_names(measurements)
    return _cut(
        Curve("loss", x, y, "eta", "loss", checkpoint=n, overflows=True)
        for n, y in zip(names, values, strict=True)
    )


def breakdown_curves(measurements: xr.Dataset, summary: xr.Dataset, layer: str) -> list[Curve]:
    """Each checkpoint's breakdown of one layer, faded where it is below the noise floor."""
    order = ("checkpoint", "eta")
    values = measurements[variables.GRADIENT_CHANGE].sel(layer=layer).transpose(*order).values
    above = summary["above_noise"].sel(layer=layer).transpose(*order).values.astype(bool)
    x = _etas(measurements)
    return _cut(
        Curve(
            "breakdown",
            x,
            values[k],
            "eta",
            variables.GRADIENT_CHANGE,
            faded=~above[k],
            checkpoint=name,
            layer=layer,
            overflows=True,
        )
        for k, name in enumerate(checkpoint_names(measurements))
    )


def frozen_breakdown_curves(measurements: xr.Dataset, summary: xr.Dataset, layer: str) -> list[Curve]:
    """The same with residuals held, at the η where it was measured."""
    own = measurements.sel(layer=layer)
    values = own[variables.FROZEN_RESIDUAL_CHANGE].transpose("checkpoint", "eta").values
    above = summary["frozen_above_noise"].sel(layer=layer).transpose("checkpoint", "eta").values.astype(bool)
    x = _etas(measurements)
    return _cut(
        Curve(
            "breakdown, residuals held",
            x,
            values[k],
            "eta",
            variables.FROZEN_RESIDUAL_CHANGE,
            faded=~above[k],
            checkpoint=name,
            layer=layer,
            overflows=True,
        )
        for k, name in enumerate(checkpoint_names(measurements))
    )


def trust_curves(measurements: xr.Dataset, summary: xr.Dataset) -> list[Curve]:
    """D(r(η)) of each checkpoint; they are as good as equal, unless a layer stood still."""
    values = summary["deep_relative_trust"].transpose("checkpoint", "eta").values
    x = _etas(measurements)
    return [
        Curve(_DISTANCE, x, values[k], "eta", "deep_relative_trust", checkpoint=name)
        for k, name in enumerate(checkpoint_names(measurements))
    ]


def _cut(curves: Iterable[Curve]) -> list[Curve]:
    """The same curves, with an end of the axis where one of them would squeeze all others into a band."""
    found = list(curves)
    tall = any(bool((curve.y[curve.shown] > _TALLEST).any()) for curve in found)
    return [replace(curve, cut=_END) for curve in found] if tall else found


def _etas(data: xr.Dataset) -> npt.NDArray[np.float64]:
    return np.asarray(data[variables.ETA].values, dtype=np.float64)


def _draw_slices(ax: Axes, curves: Sequence[Curve], count: int) -> None:
    ax.set_xscale("log")
    ax.set_yscale("log")
    for curve, color in zip(curves, style.checkpoint_colors(count), strict=True):
        draw_curve(ax, curve, color=color)
        for x in curve.x[curve.marked_above_axis]:
            mark_edge(ax, float(x), color=color, label=_ABOVE, hollow=True)


def _draw_breakdown(
    ax: Axes,
    curves: Sequence[Curve],
    trust: Sequence[Curve],
    limits: Sequence[Curve],
    measurements: xr.Dataset,
    *,
    layer: str,
    legend: bool,
) -> None:
    _draw_slices(ax, curves, measurements.sizes["checkpoint"])
    for k, curve in enumerate(trust):
        label = _DISTANCE + r" $\Pi_k(1+r_k)-1$" if k == 0 else "_"
        draw_curve(ax, curve, color="black", linestyle="--", marker="", linewidth=1.1, zorder=4, label=label)
    draw_limits(ax, limits)
    first = layer == weight_layers(measurements)[0]
    ax.set_ylabel("gradient breakdown,\n" + ("input layer" if first else layer))
    _finish_slices(ax, [*curves, *trust], legend=legend)


def _finish_slices(ax: Axes, curves: Sequence[Curve], *, legend: bool) -> None:
    ax.set_xlabel("perturbation strength η")
    ax.xaxis.set_major_locator(LogLocator(numticks=7))
    set_log_limits(ax, curves, lower=_PAPER_RANGE[0], upper=_PAPER_RANGE[1])
    if any(curve.above_axis.any() for curve in curves):
        highest = max(float(curve.y[curve.shown].max(initial=0.0)) for curve in curves)
        text = f"up to $10^{{{math.log10(highest):.0f}}}$"
        ax.annotate(
            text, (1.0, 1.0), (0, 2), xycoords="axes fraction", textcoords="offset points", ha="right"
        )
    note_if_empty(ax, curves, "nothing that can be drawn")
    if legend:
        legend_above(ax)

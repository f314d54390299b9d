"""Loss and gradient breakdown along the slices, on log axes, a colour a checkpoint.

Two things are drawn that the paper's figure lacks: the deep relative trust D(r(η)), which is claimed to
bound the breakdown, and Lemma 2's limit on η.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd  # type: ignore[import-untyped, unused-ignore]
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from figures import style
from figures.curves import Curve, table
from figures.drawing import axes_or_new, draw_curve, in_style, note_if_empty, set_log_limits
from figures.labels import checkpoint_names, weight_layers
from figures.legends import legend_above
from trust import measurements as variables

__all__ = [
    "Limit",
    "breakdown_curves",
    "frozen_breakdown_curves",
    "limit_curves",
    "loss_curves",
    "numbers_of_breakdown",
    "numbers_of_loss",
    "plot_breakdown",
    "plot_frozen_breakdown",
    "plot_loss",
    "trust_curves",
]

_PAPER_RANGE = (1e-2, 1e6)
_DISTANCE = "deep relative trust"
_LEMMA2 = "Lemma 2's limit"

Limit = float | xr.DataArray | npt.NDArray[np.float64] | None
"""Lemma 2's limit on η: one for all checkpoints, one for each, or none."""


@in_style
def plot_loss(
    measurements: xr.Dataset, *, lemma2_limit: Limit = None, ax: Axes | None = None, legend: bool = True
) -> Axes:
    """The loss along each checkpoint's slice against η, on log axes.

    Args:
        measurements: with ``loss`` (checkpoint, eta).
        lemma2_limit: Lemma 2's limit on η, drawn as a vertical line; one for all checkpoints or one for each.
        ax: where to draw; None for a new figure.
        legend: whether to write one above the axes.
    """
    ax = axes_or_new(ax)
    curves = loss_curves(measurements)
    _draw_slices(ax, curves, measurements.sizes["checkpoint"])
    _draw_limits(ax, limit_curves(measurements, lemma2_limit))
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
    ax: Axes | None = None,
    legend: bool = True,
) -> Axes:
    """One layer's gradient breakdown ‖g̃_l − g_l‖ / ‖g_l‖ against η, with D(r(η)) dashed in black.

    Points below the noise floor are hollow; where the gradient overflows, a triangle stands at the top edge.

    Args:
        measurements: with ``gradient_change`` (checkpoint, eta, layer).
        summary: with ``deep_relative_trust`` (checkpoint, eta) and ``above_noise`` (checkpoint, eta, layer).
        layer: its name; None for the first weight matrix, which the paper shows.
        lemma2_limit: as for ``plot_loss``.
        ax: where to draw; None for a new figure.
        legend: whether to write one above the axes.
    """
    ax = axes_or_new(ax)
    layer = weight_layers(measurements)[0] if layer is None else layer
    curves = breakdown_curves(measurements, summary, layer)
    trust = trust_curves(measurements, summary)
    limits = limit_curves(measurements, lemma2_limit)
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


def numbers_of_loss(measurements: xr.Dataset, *, lemma2_limit: Limit = None) -> pd.DataFrame:
    """What ``plot_loss`` draws, one row a point."""
    return table([*loss_curves(measurements), *limit_curves(measurements, lemma2_limit)])


def numbers_of_breakdown(
    measurements: xr.Dataset, summary: xr.Dataset, *, layer: str | None = None, lemma2_limit: Limit = None
) -> pd.DataFrame:
    """What ``plot_breakdown`` draws, one row a point."""
    layer = weight_layers(measurements)[0] if layer is None else layer
    curves = [*breakdown_curves(measurements, summary, layer), *trust_curves(measurements, summary)]
    return table([*curves, *limit_curves(measurements, lemma2_limit)])


def loss_curves(measurements: xr.Dataset) -> list[Curve]:
    """Each checkpoint's loss; a missing value after a finite one is an overflow."""
    values = measurements[variables.LOSS].transpose("checkpoint", "eta").values
    x = _etas(measurements)
    names = checkpoint_names(measurements)
    return [
        Curve("loss", x, y, "eta", "loss", checkpoint=n, overflows=True)
        for n, y in zip(names, values, strict=True)
    ]


def breakdown_curves(measurements: xr.Dataset, summary: xr.Dataset, layer: str) -> list[Curve]:
    """Each checkpoint's breakdown of one layer, faded where it is below the noise floor."""
    order = ("checkpoint", "eta")
    values = measurements[variables.GRADIENT_CHANGE].sel(layer=layer).transpose(*order).values
    above = summary["above_noise"].sel(layer=layer).transpose(*order).values.astype(bool)
    x = _etas(measurements)
    return [
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
    ]


def frozen_breakdown_curves(measurements: xr.Dataset, summary: xr.Dataset, layer: str) -> list[Curve]:
    """The same with residuals held, at the η where it was measured."""
    own = measurements.sel(layer=layer)
    values = own[variables.FROZEN_RESIDUAL_CHANGE].transpose("checkpoint", "eta").values
    above = summary["frozen_above_noise"].sel(layer=layer).transpose("checkpoint", "eta").values.astype(bool)
    x = _etas(measurements)
    return [
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
    ]


def trust_curves(measurements: xr.Dataset, summary: xr.Dataset) -> list[Curve]:
    """D(r(η)) of each checkpoint; they are as good as equal, unless a layer stood still."""
    values = summary["deep_relative_trust"].transpose("checkpoint", "eta").values
    x = _etas(measurements)
    return [
        Curve(_DISTANCE, x, values[k], "eta", "deep_relative_trust", checkpoint=name)
        for k, name in enumerate(checkpoint_names(measurements))
    ]


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


def _etas(data: xr.Dataset) -> npt.NDArray[np.float64]:
    return np.asarray(data[variables.ETA].values, dtype=np.float64)


def _draw_slices(ax: Axes, curves: Sequence[Curve], count: int) -> None:
    ax.set_xscale("log")
    ax.set_yscale("log")
    for curve, color in zip(curves, style.checkpoint_colors(count), strict=True):
        draw_curve(ax, curve, color=color)


def _draw_limits(ax: Axes, curves: Sequence[Curve]) -> None:
    """Grey where all agree to the eye (one per cent), else each in its checkpoint's colour."""
    places = [float(curve.x[0]) for curve in curves if curve.placed[0]]
    agree = bool(places) and max(places) <= 1.01 * min(places)
    look: dict[str, Any] = {"linestyle": (0, (1, 1.2)), "linewidth": 1.0, "zorder": 1.5, "label": _LEMMA2}
    for curve, color in zip(curves, style.checkpoint_colors(len(curves)), strict=True):
        if curve.placed[0]:
            ax.axvline(float(curve.x[0]), color="0.3" if agree else color, **look)
            look["label"] = "_"


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
    _draw_limits(ax, limits)
    first = layer == weight_layers(measurements)[0]
    ax.set_ylabel("gradient breakdown,\n" + ("input layer" if first else layer))
    _finish_slices(ax, [*curves, *trust], legend=legend)


def _finish_slices(ax: Axes, curves: Sequence[Curve], *, legend: bool) -> None:
    ax.set_xlabel("perturbation strength η")
    ax.xaxis.set_major_locator(LogLocator(numticks=7))
    set_log_limits(ax, curves, lower=_PAPER_RANGE[0], upper=_PAPER_RANGE[1])
    note_if_empty(ax, curves, "nothing that can be drawn")
    if legend:
        legend_above(ax)

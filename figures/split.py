"""The effective constant taken apart: bars of its factors, and the breakdown with the residuals held beside the whole.

A bar's parts are orders of magnitude: what raises the constant is stacked upwards from 1, what lowers it downwards,
and the black line is their sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd  # type: ignore[import-untyped, unused-ignore]
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style
from figures.curves import Curve, in_panel, table
from figures.drawing import axes_or_new, in_style, note_if_empty
from figures.envelopes import power_axis
from figures.labels import (
    at_even_steps,
    checkpoint_names,
    checkpoint_position,
    checkpoint_title,
    evenly_chosen,
    label_of,
    training_progress,
    weight_layers,
)
from figures.legends import color_key, gathered_legend, legend_above
from figures.network import Network
from figures.slices import (
    breakdown_curves,
    frozen_breakdown_curves,
    plot_breakdown,
    plot_frozen_breakdown,
    trust_curves,
)

__all__ = [
    "draw_frozen_breakdown",
    "draw_split",
    "numbers_of_frozen_breakdown",
    "numbers_of_split",
    "plot_split_across_layers",
    "plot_split_through_training",
]

_LABELS = {
    "single examples": "single examples' change (mean)",
    "cancellation": "cancellation in the mean",
    "residuals": "residuals' change",
}
_TOTAL, _WHOLE = "C of the split's examples", "C of all examples"
_MEDIAN, _THEOREM = "single examples' median", "Theorem 1b's own"
_MOST_CHECKPOINTS, _MOST_LAYERS, _PANELS = 5, 8, 3


@in_style
def plot_split_through_training(
    split: xr.Dataset, *, layer: str | None = None, ax: Axes | None = None, legend: bool = True
) -> Axes:
    """What one layer's effective constant at η₀ is made of, a bar a checkpoint.

    Args:
        split: ``log10_factor`` (factor, checkpoint, eta, layer), ``constant`` and ``jacobian_constant``
            (checkpoint, eta, layer), ``example_constant`` (…, quantile), and the attribute ``small_eta``.
        layer: its name; None for the first weight matrix.
        ax: where to draw; None for a new figure.
        legend: whether to write one above the axes.
    """
    ax = axes_or_new(ax)
    curves = _through_training(split, weight_layers(split)[0] if layer is None else layer)
    written = at_even_steps(split.sizes["checkpoint"], _MOST_CHECKPOINTS)
    _draw(ax, curves, legend=legend)
    ax.set_xticks(written, [label_of(split, k) for k in written])
    name = training_progress(split).name
    ax.set_xlabel({"step": "training step", "epoch": "epoch"}.get(name, "checkpoint"))
    return ax


@in_style
def plot_split_across_layers(
    split: xr.Dataset, *, checkpoint: str | int = -1, ax: Axes | None = None, legend: bool = True
) -> Axes:
    """What each weight matrix's effective constant at η₀ is made of, a bar a layer.

    Args:
        split: as for ``plot_split_through_training``.
        checkpoint: its name or position.
        ax: where to draw; None for a new figure.
        legend: whether to write one above the axes.
    """
    ax = axes_or_new(ax)
    curves = _across_layers(split, checkpoint_position(split, checkpoint))
    written = at_even_steps(len(weight_layers(split)), _MOST_LAYERS)
    _draw(ax, curves, legend=legend)
    ax.set_xticks(written, [str(k + 1) for k in written])
    ax.set_xlabel("layer $l$ (1 = input)")
    return ax


def draw_split(split: xr.Dataset) -> Figure:
    """Both plots as small multiples: through training for some layers, across layers for some checkpoints.

    Of a single checkpoint the second alone.
    """
    layers, checkpoints = _chosen(split)
    with style.context():
        columns, rows = max(len(layers), len(checkpoints)), 1 + bool(layers)
        figure = Figure(figsize=(style.FULL_WIDTH, 0.9 + 1.5 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for ax, (place, layer) in zip(grid[0], layers, strict=False):
            plot_split_through_training(split, layer=layer, ax=ax, legend=False)
            ax.set_title(f"layer {place + 1}" + (" (input)" if place == 0 else ""))
        for ax, checkpoint in zip(grid[-1], checkpoints, strict=False):
            plot_split_across_layers(split, checkpoint=checkpoint, ax=ax, legend=False)
            ax.set_title(checkpoint_title(split, checkpoint))
        for ax in [*(grid[0, len(layers) :] if layers else ()), *grid[-1, len(checkpoints) :]]:
            ax.remove()
        for ax in grid[:, 1:].flat:
            ax.set_ylabel("")
        gathered_legend(figure, grid.flat)
    return figure


def numbers_of_split(split: xr.Dataset) -> pd.DataFrame:
    """What ``draw_split`` draws, one row a part, in orders of magnitude."""
    layers, checkpoints = _chosen(split)
    parts = [in_panel(f"layer {place + 1}", _through_training(split, layer)) for place, layer in layers]
    parts += [in_panel(checkpoint_title(split, k), _across_layers(split, k)) for k in checkpoints]
    return table([curve for part in parts for curve in part])


def draw_frozen_breakdown(network: Network) -> Figure:
    """Figure 1's breakdown, and the same with every example's residual held, beside deep relative trust."""
    measurements, summary = network.measurements, network.summary
    with style.context():
        figure = Figure(figsize=(style.FULL_WIDTH, 2.6), layout="constrained")
        whole, frozen = figure.subplots(1, 2, sharey=True)
        plot_breakdown(measurements, summary, ax=whole, legend=False)
        plot_frozen_breakdown(measurements, summary, ax=frozen, legend=False)
        whole.set_title("whole")
        frozen.set_title("residuals held: the Jacobians' part")
        frozen.set_ylabel("")
        count = measurements.sizes["checkpoint"]
        labels = [label_of(measurements, k) for k in range(count)]
        color_key(frozen, labels, style.checkpoint_colors(count), title=training_progress(measurements).name)
        gathered_legend(figure, [whole, frozen])
    return figure


def numbers_of_frozen_breakdown(network: Network) -> pd.DataFrame:
    """What ``draw_frozen_breakdown`` draws, one row a point."""
    measurements, summary = network.measurements, network.summary
    layer = weight_layers(measurements)[0]
    trust = trust_curves(measurements, summary)
    whole = [*breakdown_curves(measurements, summary, layer), *trust]
    frozen = [*frozen_breakdown_curves(measurements, summary, layer), *trust]
    return table([*in_panel("whole", whole), *in_panel("residuals held", frozen)])


def _chosen(split: xr.Dataset) -> tuple[list[tuple[int, str]], list[int]]:
    """The layers (place and name; none of a single checkpoint) and the checkpoints that get a panel."""
    checkpoints = evenly_chosen(range(split.sizes["checkpoint"]), _PANELS)
    layers = list(enumerate(weight_layers(split))) if len(checkpoints) > 1 else []
    return evenly_chosen(layers, _PANELS), checkpoints


def _through_training(split: xr.Dataset, layer: str) -> list[Curve]:
    progress = training_progress(split)
    names = {"checkpoint": tuple(checkpoint_names(split)), "layer": layer}
    return _curves(split.sel(layer=layer), "checkpoint", progress.values, progress.name, names)


def _across_layers(split: xr.Dataset, checkpoint: int) -> list[Curve]:
    layers = weight_layers(split)
    names = {"checkpoint": checkpoint_names(split)[checkpoint], "layer": tuple(layers)}
    one = split.isel(checkpoint=checkpoint).sel(layer=layers)
    return _curves(one, "layer", np.arange(1.0, len(layers) + 1), "layer_number", names)


def _curves(
    part: xr.Dataset, along: str, x: npt.NDArray[np.float64], x_name: str, names: dict[str, Any]
) -> list[Curve]:
    """A curve for each factor, in log10, and the points beside the bars."""
    one = part.sel(eta=part.attrs["small_eta"])
    common: dict[str, Any] = {**names, "log_x": False, "log_y": False}

    def curve(series: str, values: xr.DataArray, **more: Any) -> Curve:
        y = np.asarray(values.transpose(along).values, dtype=np.float64)
        return Curve(series, x, y, x_name, "log10", **common, **more)

    factors = one["log10_factor"]
    bars = [
        curve(str(name), factors.sel(factor=name), kind="bar") for name in factors["factor"].values.tolist()
    ]
    with np.errstate(divide="ignore", invalid="ignore"):
        levels: dict[str, xr.DataArray] = {
            _TOTAL: factors.sum("factor", skipna=False),
            _WHOLE: xr.apply_ufunc(np.log10, one["constant"]),
            _MEDIAN: xr.apply_ufunc(np.log10, one["example_constant"].sel(quantile=0.5)),
            _THEOREM: xr.apply_ufunc(np.log10, one["jacobian_constant"]),
        }
    return bars + [curve(name, values, kind="points") for name, values in levels.items()]


def _draw(ax: Axes, curves: Sequence[Curve], *, legend: bool) -> None:
    count = len(curves[0].x)
    places = np.arange(count)
    bars, points = ([c for c in curves if (c.kind == "bar") is bar] for bar in (True, False))
    colors = style.category_colors([curve.series for curve in bars])
    whole = np.all([curve.shown for curve in bars], axis=0)
    ends = np.zeros((2, count))
    for curve in bars:
        height = np.where(whole, curve.y, 0.0)
        side = (height < 0).astype(int)
        ax.bar(
            places[whole],
            height[whole],
            bottom=ends[side, places][whole],
            width=0.75,
            color=colors[curve.series],
            edgecolor="white",
            linewidth=0.3,
            label=_LABELS.get(curve.series, curve.series),
            gid=curve.series,
        )
        ends[side, places] += height
    ax.axhline(0.0, color="black", linestyle="--", linewidth=0.8, label="deep relative trust: 1")
    total, every, median, theorem = points
    shown = total.shown
    ax.hlines(total.y[shown], places[shown] - 0.45, places[shown] + 0.45, color="black", label=_TOTAL)
    for curve, marker, face in ((every, "_", "white"), (median, "o", "white"), (theorem, "D", "0.6")):
        if curve.shown.any():
            ax.plot(
                places[curve.shown],
                curve.y[curve.shown],
                linestyle="none",
                marker=marker,
                markersize=3.2,
                markerfacecolor=face,
                markeredgecolor="black",
                markeredgewidth=0.6,
                label=curve.series,
                zorder=4,
            )
    ax.set_xlim(-0.7, count - 0.3)
    ax.grid(visible=False, axis="x")
    power_axis(ax)
    ax.set_ylabel(r"effective constant at $\eta_0$")
    note_if_empty(ax, curves, "no constant could be measured")
    if legend:
        legend_above(ax, grow=True)

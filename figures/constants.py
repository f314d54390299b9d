"""The effective constant C_l, which deep relative trust sets to one, through training and across layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd  # type: ignore[import-untyped, unused-ignore]
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from figures import style
from figures.curves import Curve, in_panel, table
from figures.drawing import axes_or_new, draw_curve, in_style, note_if_empty
from figures.labels import checkpoint_names, label_of, set_progress_axis, training_progress, weight_layers
from figures.legends import color_key, legend_above
from figures.zeros import show_zeros

__all__ = [
    "draw_constants",
    "numbers_of_constants",
    "numbers_of_constants_across_layers",
    "numbers_of_constants_through_training",
    "plot_constants_across_layers",
    "plot_constants_through_training",
]

_QUANTITY = "constant"


@in_style
def plot_constants_through_training(
    summary: xr.Dataset, *, ax: Axes | None = None, legend: bool = True
) -> Axes:
    """Each weight matrix's effective constant against training, a colour a layer; dashed, the model's 1.

    Args:
        summary: with ``constant`` (checkpoint, layer), at η₀.
        ax: where to draw; None for a new figure.
        legend: whether to write one above the axes.
    """
    ax = axes_or_new(ax)
    curves = _through_training(summary)
    progress = training_progress(summary)
    _draw(ax, curves, style.layer_colors(len(curves)), legend=legend)
    set_progress_axis(ax, progress)
    labels = [str(k + 1) for k in range(len(curves))]
    color_key(ax, labels, style.layer_colors(len(curves)), title="layer")
    return ax


@in_style
def plot_constants_across_layers(summary: xr.Dataset, *, ax: Axes | None = None, legend: bool = True) -> Axes:
    """Each checkpoint's effective constants against the layer, a colour a checkpoint; dashed, the model's 1.

    Args:
        summary: with ``constant`` (checkpoint, layer), at η₀.
        ax: where to draw; None for a new figure.
        legend: whether to write one above the axes.
    """
    ax = axes_or_new(ax)
    curves = _across_layers(summary)
    colors = style.checkpoint_colors(len(curves))
    _draw(ax, curves, colors, legend=legend)
    ax.set_xlabel("layer $l$ (1 = input)")
    ax.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    count = len(weight_layers(summary))
    ax.set_xlim(0.7, count + 0.3)
    labels = [label_of(summary, k) for k in range(len(curves))]
    color_key(ax, labels, colors, title=training_progress(summary).name)
    return ax


def draw_constants(summary: xr.Dataset) -> Figure:
    """Both plots of one network side by side, with one axis of constants; of a single checkpoint the second alone."""
    with style.context():
        if summary.sizes["checkpoint"] == 1:
            figure = Figure(figsize=(style.COLUMN_WIDTH, 2.5), layout="constrained")
            plot_constants_across_layers(summary, ax=figure.subplots())
            return figure
        figure = Figure(figsize=(style.FULL_WIDTH, 2.5), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        plot_constants_through_training(summary, ax=left)
        plot_constants_across_layers(summary, ax=right, legend=False)
        right.set_ylabel("")
        show_zeros([left, right])
    return figure


def numbers_of_constants_through_training(summary: xr.Dataset) -> pd.DataFrame:
    """What ``plot_constants_through_training`` draws, one row a point."""
    return table(_through_training(summary))


def numbers_of_constants_across_layers(summary: xr.Dataset) -> pd.DataFrame:
    """What ``plot_constants_across_layers`` draws, one row a point."""
    return table(_across_layers(summary))


def numbers_of_constants(summary: xr.Dataset) -> pd.DataFrame:
    """What ``draw_constants`` draws, one row a point."""
    several = summary.sizes["checkpoint"] > 1
    through = in_panel("through training", _through_training(summary)) if several else []
    return table([*through, *in_panel("across layers", _across_layers(summary))])


def _values(summary: xr.Dataset) -> npt.NDArray[np.float64]:
    """(checkpoint, weight layer)."""
    chosen = summary[_QUANTITY].sel(layer=weight_layers(summary)).transpose("checkpoint", "layer")
    return np.asarray(chosen.values, dtype=np.float64)


def _through_training(summary: xr.Dataset) -> list[Curve]:
    progress = training_progress(summary)
    common: dict[str, Any] = {
        "checkpoint": tuple(checkpoint_names(summary)),
        "log_x": False,
        "mark_all": True,
    }
    values = _values(summary)
    return [
        Curve(
            "effective constant",
            progress.values,
            values[:, k],
            progress.name,
            _QUANTITY,
            layer=name,
            **common,
        )
        for k, name in enumerate(weight_layers(summary))
    ]


def _across_layers(summary: xr.Dataset) -> list[Curve]:
    layers = weight_layers(summary)
    x = np.arange(1.0, len(layers) + 1)
    common: dict[str, Any] = {"layer": tuple(layers), "log_x": False, "mark_all": True}
    return [
        Curve("effective constant", x, values, "layer_number", _QUANTITY, checkpoint=name, **common)
        for name, values in zip(checkpoint_names(summary), _values(summary), strict=True)
    ]


def _draw(ax: Axes, curves: list[Curve], colors: list[style.RGB], *, legend: bool) -> None:
    ax.set_yscale("log")
    for curve, color in zip(curves, colors, strict=True):
        draw_curve(ax, curve, color=color, marker="o", markersize=2.5, overflow="infinite")
    ax.axhline(1.0, color="black", linestyle="--", linewidth=1.0, label="deep relative trust: $C_l = 1$")
    ax.yaxis.set_major_locator(LogLocator(numticks=6))
    ax.set_ylabel(r"effective constant $C_l$ at $\eta_0$")
    note_if_empty(ax, curves, "no constant could be measured")
    show_zeros([ax])
    if legend:
        legend_above(ax)

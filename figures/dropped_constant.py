"""The study of the dropped constant: how the effective constant and its parts go through training, over seeds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped, unused-ignore]
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from figures import style
from figures.curves import Curve, table
from figures.drawing import draw_curve, note_if_empty
from figures.legends import gathered_legend

__all__ = ["draw_dropped_constant", "numbers_of_dropped_constant"]

_SERIES = {
    "constant": ("effective constant C", "o", "-"),
    "frozen_constant": ("C, residuals held", "s", "-"),
    "mean_example": ("single examples, $C_{ex}$", "^", "--"),
    "median_example": ("median single example", "D", "-"),
    "theorem1b": ("Theorem 1b's own, median", "v", ":"),
}
_PLACE = "largest"


def draw_dropped_constant(found: xr.Dataset) -> Figure:
    """Small multiples, a column a depth and a row a kind of network: medians over the seeds, and all between them.

    Args:
        found: ``value`` (network, checkpoint, place, quantity, statistic) and ``accuracy`` (network, checkpoint,
            statistic), with the coordinates ``depth`` and ``kind`` of a network, and ``checkpoint`` as the share of
            training; statistics are ``low``, ``median`` and ``high``.
    """
    depths = list(dict.fromkeys(found["depth"].values.tolist()))
    kinds = list(dict.fromkeys(found["kind"].values.tolist()))
    with style.context():
        figure = Figure(figsize=(style.FULL_WIDTH, 0.9 + 1.55 * len(kinds)), layout="constrained")
        grid = figure.subplots(len(kinds), len(depths), squeeze=False, sharex=True, sharey=True)
        taken = set()
        for network in range(found.sizes["network"]):
            one = found.isel(network=network)
            place = kinds.index(one["kind"].item()), depths.index(one["depth"].item())
            taken.add(place)
            _draw(grid[place], one)
        for row, column in np.ndindex(grid.shape):
            ax: Axes = grid[row, column]  # type: ignore[assignment, unused-ignore]
            if (row, column) not in taken:
                ax.set_axis_off()
                continue
            if (row, column - 1) not in taken:  # labels stand at the edges, where there are gaps too
                ax.set_ylabel(r"constant at $\eta_0 = 10^{-4}$")
                ax.tick_params(labelleft=True)
            if (row + 1, column) not in taken:
                ax.set_xlabel("share of training")
                ax.tick_params(labelbottom=True)
        gathered_legend(figure, [grid[place] for place in sorted(taken)])
    return figure


def numbers_of_dropped_constant(found: xr.Dataset) -> pd.DataFrame:
    """What ``draw_dropped_constant`` draws, one row a point; ``series`` says whether median, low or high."""
    return table(
        [
            curve
            for network in range(found.sizes["network"])
            for curves in _curves(found.isel(network=network)).values()
            for curve in curves.values()
        ]
    )


def _curves(one: xr.Dataset) -> dict[str, dict[str, Curve]]:
    """For each quantity the curves of its statistics."""
    x = np.asarray(one["checkpoint"].values, dtype=np.float64)
    common: dict[str, Any] = {"log_x": False, "panel": _name(one)}

    def curve(quantity: str, statistic: str) -> Curve:
        values = one["value"].sel(place=_PLACE, quantity=quantity, statistic=statistic)
        y = np.asarray(values.values, dtype=np.float64)
        series = _SERIES[quantity][0] + ("" if statistic == "median" else f", {statistic}")
        return Curve(series, x, y, "share_of_training", quantity, **common)

    return {
        quantity: {name: curve(quantity, name) for name in ("low", "median", "high")} for quantity in _SERIES
    }


def _name(one: xr.Dataset) -> str:
    return f"{int(one['depth'])} layers, {one['kind'].item()}"


def _draw(ax: Axes, one: xr.Dataset) -> None:
    ax.set_yscale("log")
    curves = _curves(one)
    colors = style.category_colors(list(_SERIES))
    for quantity, (label, mark, line) in _SERIES.items():
        low, middle, high = curves[quantity].values()
        color = colors[quantity]
        ax.fill_between(low.x, low.y, high.y, color=color, alpha=0.18, linewidth=0)
        draw_curve(ax, middle, color=color, marker=mark, markersize=3.0, linestyle=line, label=label)
    ax.axhline(1.0, color="black", linestyle="--", linewidth=0.8, label="deep relative trust: 1")
    ax.xaxis.set_major_formatter(PercentFormatter(1.0))
    accuracy = float(one["accuracy"].sel(statistic="median").values[-1])
    ax.set_title(f"{_name(one)} (accuracy {accuracy:.2f})", fontsize=7)
    note_if_empty(ax, [curve for own in curves.values() for curve in own.values()], "nothing above the noise")

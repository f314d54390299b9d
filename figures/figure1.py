"""The paper's Figure 1, panel for panel: a row for each network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd  # type: ignore[import-untyped, unused-ignore]
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style
from figures.accuracy import accuracy_curves, plot_training_accuracy
from figures.curves import in_panel, table
from figures.labels import label_of, training_progress
from figures.legends import color_key, gathered_legend
from figures.network import Network
from figures.slices import numbers_of_breakdown, numbers_of_loss, plot_breakdown, plot_loss

__all__ = ["draw_figure1", "numbers_of_figure1"]


def draw_figure1(networks: Sequence[Network]) -> Figure:
    """The whole figure: a row for each network, with loss, the input layer's breakdown and training accuracy.

    Every slice shows at least the paper's range of y, 1e-2 to 1e6, and more where its own data reach
    beyond it; one range for all would squeeze the shallow networks flat. Each checkpoint's measured step limit is a
    diamond on its curves.

    Raises:
        ValueError: there is no network.
    """
    if not networks:
        raise ValueError("figure 1 needs at least one network")
    with style.context():
        figure = Figure(figsize=(style.FULL_WIDTH, 0.75 + 1.6 * len(networks)), layout="constrained")
        grid = figure.subplots(len(networks), 3, squeeze=False, width_ratios=(1.0, 1.0, 0.8))
        for row, network in zip(grid, networks, strict=True):
            limits = _limits(network)
            plot_loss(network.measurements, ax=row[0], legend=False, **limits)
            plot_breakdown(network.measurements, network.summary, ax=row[1], legend=False, **limits)
            plot_training_accuracy(network.measurements, network.history, ax=row[2], legend=False)
            row[0].set_title(network.title, loc="left", fontweight="bold")
            _key_of_checkpoints(row[2], network.measurements)
        for ax in grid[:-1].flat:
            ax.set_xlabel("")
        gathered_legend(figure, grid.flat)
    return figure


def numbers_of_figure1(networks: Sequence[Network]) -> pd.DataFrame:
    """What ``draw_figure1`` draws, one row a point; ``panel`` says which network and which quantity."""
    parts = []
    for network in networks:
        data, title, limits = network.measurements, network.title, _limits(network)
        past, dots = accuracy_curves(data, network.history)
        parts += [
            numbers_of_loss(data, **limits).assign(panel=f"{title}: loss"),
            numbers_of_breakdown(data, network.summary, **limits).assign(panel=f"{title}: breakdown"),
            table(in_panel(f"{title}: training accuracy", [dots] if past is None else [dots, past])),
        ]
    return pd.concat(parts, ignore_index=True)


def _limits(network: Network) -> dict[str, Any]:
    """What the slices show of the step limits; a run may lack the measured one."""
    return {"lemma2_limit": network.limits["lemma2"], "measured_limit": network.limits.get("measured")}


def _key_of_checkpoints(ax: Axes, measurements: xr.Dataset) -> None:
    count = measurements.sizes["checkpoint"]
    labels = [label_of(measurements, k) for k in range(count)]
    color_key(ax, labels, style.checkpoint_colors(count), title=training_progress(measurements).name)

"""The paper's Figure 1, panel for panel: a row for each network."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd  # type: ignore[import-untyped, unused-ignore]
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style
from figures.accuracy import accuracy_curves, plot_training_accuracy
from figures.curves import Curve, in_panel, table
from figures.labels import label_of, training_progress, weight_layers
from figures.legends import color_key, gathered_legend
from figures.network import Network
from figures.slices import (
    breakdown_curves,
    limit_curves,
    loss_curves,
    plot_breakdown,
    plot_loss,
    trust_curves,
)

__all__ = ["draw_figure1", "numbers_of_figure1"]


def draw_figure1(networks: Sequence[Network]) -> Figure:
    """The whole figure: a row for each network, with loss, the input layer's breakdown and training accuracy.

    Every slice shows at least the paper's range of y, 1e-2 to 1e6, and more where its own data reach
    beyond it; one range for all would squeeze the shallow networks flat.

    Raises:
        ValueError: there is no network.
    """
    if not networks:
        raise ValueError("figure 1 needs at least one network")
    with style.context():
        figure = Figure(figsize=(style.FULL_WIDTH, 0.75 + 1.6 * len(networks)), layout="constrained")
        grid = figure.subplots(len(networks), 3, squeeze=False, width_ratios=(1.0, 1.0, 0.8))
        for row, network in zip(grid, networks, strict=True):
            limit = network.limits["lemma2"]
            plot_loss(network.measurements, lemma2_limit=limit, ax=row[0], legend=False)
            plot_breakdown(network.measurements, network.summary, lemma2_limit=limit, ax=row[1], legend=False)
            plot_training_accuracy(network.measurements, network.history, ax=row[2], legend=False)
            row[0].set_title(network.title, loc="left", fontweight="bold")
            _key_of_checkpoints(row[2], network.measurements)
        for ax in grid[:-1].flat:
            ax.set_xlabel("")
        gathered_legend(figure, grid.flat)
    return figure


def numbers_of_figure1(networks: Sequence[Network]) -> pd.DataFrame:
    """What ``draw_figure1`` draws, one row a point; ``panel`` says which network and which quantity."""
    curves: list[Curve] = []
    for network in networks:
        data, title = network.measurements, network.title
        limits = limit_curves(data, network.limits["lemma2"])
        layer = weight_layers(data)[0]
        breakdown = [*breakdown_curves(data, network.summary, layer), *trust_curves(data, network.summary)]
        past, dots = accuracy_curves(data, network.history)
        curves += in_panel(f"{title}: loss", [*loss_curves(data), *limits])
        curves += in_panel(f"{title}: breakdown", [*breakdown, *limits])
        curves += in_panel(f"{title}: training accuracy", [dots] if past is None else [dots, past])
    return table(curves)


def _key_of_checkpoints(ax: Axes, measurements: xr.Dataset) -> None:
    count = measurements.sizes["checkpoint"]
    labels = [label_of(measurements, k) for k in range(count)]
    color_key(ax, labels, style.checkpoint_colors(count), title=training_progress(measurements).name)

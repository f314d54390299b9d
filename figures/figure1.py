"""The paper's Figure 1: loss and gradient breakdown along slices, training accuracy, a colour a checkpoint.

Two things are drawn that the paper's figure lacks: the deep relative trust D(r(η)), which is claimed to
bound the breakdown, and Lemma 2's limit on η.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd  # type: ignore[import-untyped, unused-ignore]
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from figures import style
from figures.curves import Curve, in_panel, table
from figures.drawing import (
    axes_or_new,
    color_key,
    draw_curve,
    gathered_legend,
    legend_above,
    note_if_empty,
    set_log_limits,
)
from figures.labels import checkpoint_names, label_of, set_progress_axis, training_progress, weight_layers
from figures.network import Network

__all__ = [
    "draw_figure1",
    "numbers_of_breakdown",
    "numbers_of_figure1",
    "numbers_of_loss",
    "numbers_of_training_accuracy",
    "plot_breakdown",
    "plot_loss",
    "plot_training_accuracy",
]

PAPER_RANGE = (1e-2, 1e6)
_DISTANCE = "deep relative trust"
_LEMMA2 = "Lemma 2's limit"
_ETA = "perturbation strength η"

Limit = float | xr.DataArray | npt.NDArray[np.float64] | None


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
    curves = _loss_curves(measurements)
    _draw_slices(ax, curves, measurements.sizes["checkpoint"])
    _draw_limits(ax, _limit_curves(measurements, lemma2_limit))
    ax.set_ylabel("loss (full batch)")
    _finish_slices(ax, curves, legend=legend)
    return ax


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
    curves = _breakdown_curves(measurements, summary, layer)
    trust = _trust_curves(measurements, summary)
    _draw_slices(ax, curves, measurements.sizes["checkpoint"])
    for k, curve in enumerate(trust):
        label = _DISTANCE + r" $\Pi_k(1+r_k)-1$" if k == 0 else "_"
        draw_curve(ax, curve, color="black", linestyle="--", marker="", linewidth=1.1, zorder=4, label=label)
    _draw_limits(ax, _limit_curves(measurements, lemma2_limit))
    first = layer == weight_layers(measurements)[0]
    ax.set_ylabel("gradient breakdown,\n" + ("input layer" if first else layer))
    _finish_slices(ax, [*curves, *trust], legend=legend)
    return ax


def plot_training_accuracy(
    measurements: xr.Dataset,
    history: pd.DataFrame | None = None,
    ax: Axes | None = None,
    *,
    legend: bool = True,
) -> Axes:
    """Training accuracy of each step's batch, faint, and of each checkpoint, a coloured dot.

    A checkpoint's accuracy is the coordinate ``train_accuracy``, or else the accuracy measured at η = 0.
    Steps are drawn on an axis that is linear up to 10 and logarithmic from there, as checkpoints tend to be.

    Args:
        measurements: with one of the two.
        history: columns ``step`` (or ``epoch``) and ``accuracy``; left out where it cannot be placed.
        ax: where to draw; None for a new figure.
        legend: whether to write one above the axes.
    """
    ax = axes_or_new(ax)
    past, dots = _accuracy_curves(measurements, history)
    if past is not None:
        draw_curve(ax, past, color="0.75", marker="", linewidth=0.6, zorder=1, label="each step's batch")
    for k, color in enumerate(style.checkpoint_colors(dots.x.size)):
        label = "checkpoint" if k == 0 else "_"
        ax.plot(dots.x[k : k + 1], dots.y[k : k + 1], "o", markersize=4.5, color=color, zorder=3, label=label)
    progress = training_progress(measurements)
    set_progress_axis(ax, progress)
    ax.set_ylim(-0.04, 1.06)
    ax.set_ylabel("training accuracy")
    note_if_empty(ax, [dots] if past is None else [past, dots], "accuracy not known")
    if legend:
        legend_above(ax)
    return ax


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


def numbers_of_loss(measurements: xr.Dataset, *, lemma2_limit: Limit = None) -> pd.DataFrame:
    """What ``plot_loss`` draws, one row a point."""
    return table([*_loss_curves(measurements), *_limit_curves(measurements, lemma2_limit)])


def numbers_of_breakdown(
    measurements: xr.Dataset, summary: xr.Dataset, *, layer: str | None = None, lemma2_limit: Limit = None
) -> pd.DataFrame:
    """What ``plot_breakdown`` draws, one row a point."""
    layer = weight_layers(measurements)[0] if layer is None else layer
    curves = [*_breakdown_curves(measurements, summary, layer), *_trust_curves(measurements, summary)]
    return table([*curves, *_limit_curves(measurements, lemma2_limit)])


def numbers_of_training_accuracy(
    measurements: xr.Dataset, history: pd.DataFrame | None = None
) -> pd.DataFrame:
    """What ``plot_training_accuracy`` draws, one row a point."""
    past, dots = _accuracy_curves(measurements, history)
    return table([dots] if past is None else [dots, past])


def numbers_of_figure1(networks: Sequence[Network]) -> pd.DataFrame:
    """What ``draw_figure1`` draws, one row a point; ``panel`` says which network and which quantity."""
    curves: list[Curve] = []
    for network in networks:
        data, title = network.measurements, network.title
        limits = _limit_curves(data, network.limits["lemma2"])
        layer = weight_layers(data)[0]
        breakdown = [*_breakdown_curves(data, network.summary, layer), *_trust_curves(data, network.summary)]
        past, dots = _accuracy_curves(data, network.history)
        curves += in_panel(f"{title}: loss", [*_loss_curves(data), *limits])
        curves += in_panel(f"{title}: breakdown", [*breakdown, *limits])
        curves += in_panel(f"{title}: training accuracy", [dots] if past is None else [dots, past])
    return table(curves)


def _etas(data: xr.Dataset) -> npt.NDArray[np.float64]:
    return np.asarray(data["eta"].values, dtype=np.float64)


def _loss_curves(measurements: xr.Dataset) -> list[Curve]:
    values = measurements["loss"].transpose("checkpoint", "eta").values
    x = _etas(measurements)
    names = checkpoint_names(measurements)
    return [
        Curve("loss", x, y, "eta", "loss", checkpoint=n, overflows=True)
        for n, y in zip(names, values, strict=True)
    ]


def _breakdown_curves(measurements: xr.Dataset, summary: xr.Dataset, layer: str) -> list[Curve]:
    order = ("checkpoint", "eta")
    values = measurements["gradient_change"].sel(layer=layer).transpose(*order).values
    above = summary["above_noise"].sel(layer=layer).transpose(*order).values.astype(bool)
    x = _etas(measurements)
    return [
        Curve(
            "breakdown",
            x,
            values[k],
            "eta",
            "gradient_change",
            faded=~above[k],
            checkpoint=name,
            layer=layer,
            overflows=True,
        )
        for k, name in enumerate(checkpoint_names(measurements))
    ]


def _trust_curves(measurements: xr.Dataset, summary: xr.Dataset) -> list[Curve]:
    values = summary["deep_relative_trust"].transpose("checkpoint", "eta").values
    x = _etas(measurements)
    return [
        Curve(_DISTANCE, x, values[k], "eta", "deep_relative_trust", checkpoint=name)
        for k, name in enumerate(checkpoint_names(measurements))
    ]


def _limit_curves(measurements: xr.Dataset, limit: Limit) -> list[Curve]:
    """The vertical lines as curves with no y: one for all checkpoints where they agree, else one for each."""
    if limit is None:
        return []
    names = checkpoint_names(measurements)
    values = np.broadcast_to(np.asarray(limit, dtype=np.float64), (len(names),))
    if len(set(values.tolist())) == 1:
        names, values = [""], values[:1]
    none = np.full(1, np.nan)
    return [
        Curve(_LEMMA2, values[k : k + 1], none, "eta", "", checkpoint=name)
        for k, name in enumerate(names)
        if np.isfinite(values[k]) and values[k] > 0
    ]


def _accuracy_curves(measurements: xr.Dataset, history: pd.DataFrame | None) -> tuple[Curve | None, Curve]:
    progress = training_progress(measurements)
    if "train_accuracy" in measurements.coords or "train_accuracy" in measurements:
        accuracy = measurements["train_accuracy"].values
    else:
        accuracy = measurements["accuracy"].sel(eta=0.0).values
    y = np.asarray(accuracy, dtype=np.float64).reshape(progress.values.shape)
    names = tuple(checkpoint_names(measurements))
    dots = Curve(
        "checkpoint",
        progress.values,
        y,
        progress.name,
        "accuracy",
        checkpoint=names,
        log_x=False,
        log_y=False,
    )
    if history is None or progress.name not in history or "accuracy" not in history or not len(history):
        return None, dots
    x, batch = (history[name].to_numpy(dtype=np.float64) for name in (progress.name, "accuracy"))
    return Curve("each step's batch", x, batch, progress.name, "accuracy", log_x=False, log_y=False), dots


def _draw_slices(ax: Axes, curves: Sequence[Curve], count: int) -> None:
    ax.set_xscale("log")
    ax.set_yscale("log")
    for curve, color in zip(curves, style.checkpoint_colors(count), strict=True):
        draw_curve(ax, curve, color=color)


def _draw_limits(ax: Axes, curves: Sequence[Curve]) -> None:
    colors = style.checkpoint_colors(len(curves)) if len(curves) > 1 else ["0.3"]
    for k, (curve, color) in enumerate(zip(curves, colors, strict=False)):
        label = _LEMMA2 if k == 0 else "_"
        ax.axvline(
            float(curve.x[0]), color=color, linestyle=(0, (1, 1.2)), linewidth=1.0, zorder=1.5, label=label
        )


def _finish_slices(ax: Axes, curves: Sequence[Curve], *, legend: bool) -> None:
    ax.set_xlabel(_ETA)
    ax.xaxis.set_major_locator(LogLocator(numticks=7))
    set_log_limits(ax, curves, lower=PAPER_RANGE[0], upper=PAPER_RANGE[1])
    note_if_empty(ax, curves, "nothing that can be drawn")
    if legend:
        legend_above(ax)


def _key_of_checkpoints(ax: Axes, measurements: xr.Dataset) -> None:
    count = measurements.sizes["checkpoint"]
    labels = [label_of(measurements, k) for k in range(count)]
    color_key(ax, labels, style.checkpoint_colors(count), title=training_progress(measurements).name)

"""Labels that provably do not change, beside those that did not, against η."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd  # type: ignore[import-untyped, unused-ignore]
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style
from figures.curves import Curve, in_panel, table
from figures.drawing import axes_or_new, draw_curve, in_style, note_if_empty
from figures.labels import (
    checkpoint_names,
    checkpoint_position,
    checkpoint_title,
    claim_label,
    evenly_chosen,
)
from figures.legends import gathered_legend, legend_above
from trust import measurements as variables

__all__ = ["draw_certified_labels", "numbers_of_certified_labels", "plot_certified_labels"]

_MOST_PANELS = 4
_RUNGS = ("pattern-response", "pattern-telescoped", "telescoped")
"""What is drawn beside the best: the lowest rungs, where they were measured."""
_KEPT, _BEST = "unchanged, as measured", "certified, best bound"


@in_style
def plot_certified_labels(
    labels: xr.Dataset, *, checkpoint: str | int = -1, ax: Axes | None = None, legend: bool = True
) -> Axes:
    """Against η the share of examples whose label did not change, and the share whose label provably cannot.

    Black is what was measured, the thick line what the best bound certifies, thin lines what single bounds do.

    Args:
        labels: ``kept`` and ``certified`` (checkpoint, eta), ``certified_by`` (rung, checkpoint, eta).
        checkpoint: its name, or its position (−1 is the last).
        ax: where to draw; None for a new figure.
        legend: whether to write one above the axes.
    """
    ax = axes_or_new(ax)
    curves = _curves(labels, checkpoint_position(labels, checkpoint))
    looks = style.claim_looks([curve.series for curve in curves[2:]])
    ax.set_xscale("log")
    for curve in curves[2:]:
        color, line = looks[curve.series]
        draw_curve(ax, curve, color=color, linestyle=line, linewidth=0.9, label=claim_label(curve.series))
    draw_curve(ax, curves[1], color="0.35", linewidth=2.0, alpha=0.6, label=_BEST)
    draw_curve(ax, curves[0], color="black", label=_KEPT)
    note_if_empty(ax, curves, "no label is known")
    ax.set_ylim(-0.03, 1.03)
    ax.set_xlabel("perturbation strength η")
    ax.set_ylabel("share of labels")
    if legend:
        legend_above(ax)
    return ax


def draw_certified_labels(labels: xr.Dataset, *, checkpoints: Sequence[str | int] | None = None) -> Figure:
    """``plot_certified_labels`` of a few checkpoints, side by side.

    Args:
        labels: as for ``plot_certified_labels``.
        checkpoints: names or positions; None for up to four from the first to the last.
    """
    chosen = _chosen(labels, checkpoints)
    with style.context():
        width = style.FULL_WIDTH if len(chosen) > 1 else style.COLUMN_WIDTH
        figure = Figure(figsize=(width, 2.5), layout="constrained")
        row = figure.subplots(1, len(chosen), squeeze=False, sharey=True)[0]
        for ax, place in zip(row, chosen, strict=True):
            plot_certified_labels(labels, checkpoint=place, ax=ax, legend=False)
            count = int(labels["examples"].values[place])
            ax.set_title(f"{checkpoint_title(labels, place)} ({count} examples)")
            ax.label_outer()
            ax.tick_params(labelbottom=True)
        gathered_legend(figure, row)
    return figure


def numbers_of_certified_labels(
    labels: xr.Dataset, *, checkpoints: Sequence[str | int] | None = None
) -> pd.DataFrame:
    """What ``draw_certified_labels`` draws, one row a point."""
    chosen = _chosen(labels, checkpoints)
    return table(
        curve
        for place in chosen
        for curve in in_panel(checkpoint_title(labels, place), _curves(labels, place))
    )


def _chosen(labels: xr.Dataset, checkpoints: Sequence[str | int] | None) -> list[int]:
    if checkpoints is None:
        return evenly_chosen(range(labels.sizes["checkpoint"]), _MOST_PANELS)
    return [checkpoint_position(labels, checkpoint) for checkpoint in checkpoints]


def _curves(labels: xr.Dataset, place: int) -> list[Curve]:
    """What was measured, what the best bound certifies, and what single bounds do."""
    one = labels.isel(checkpoint=place)
    name = checkpoint_names(labels)[place]
    x = np.asarray(one[variables.ETA].values, dtype=np.float64)
    rungs = [rung for rung in _RUNGS if rung in labels["rung"].values]
    shares = {
        "kept": one["kept"],
        "certified": one["certified"],
        **{rung: one["certified_by"].sel(rung=rung) for rung in rungs},
    }
    return [
        Curve(series, x, np.asarray(values.values, np.float64), "eta", "share", checkpoint=name, log_y=False)
        for series, values in shares.items()
    ]

"""Training accuracy: of each step's batch, and of each checkpoint."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd  # type: ignore[import-untyped, unused-ignore]
import xarray as xr
from matplotlib.axes import Axes

from figures import style
from figures.curves import Curve, table
from figures.drawing import axes_or_new, draw_curve, in_style, note_if_empty
from figures.labels import checkpoint_names, set_progress_axis, training_progress
from figures.legends import legend_above
from trust import measurements as variables

__all__ = ["accuracy_curves", "numbers_of_training_accuracy", "plot_training_accuracy"]


@in_style
def plot_training_accuracy(
    measurements: xr.Dataset,
    history: pd.DataFrame | None = None,
    ax: Axes | None = None,
    *,
    legend: bool = True,
) -> Axes:
    """Training accuracy of each step's batch, faint, and of each checkpoint, a coloured dot.

    A checkpoint's accuracy is the coordinate ``train_accuracy``, or where that is not known the one measured at η = 0.
    Steps are drawn on an axis that is linear up to 10 and logarithmic from there, as checkpoints tend to be.

    Args:
        measurements: with one of the two.
        history: columns ``step`` (or ``epoch``) and ``accuracy``; left out where it cannot be placed.
        ax: where to draw; None for a new figure.
        legend: whether to write one above the axes.
    """
    ax = axes_or_new(ax)
    past, dots = accuracy_curves(measurements, history)
    if past is not None:
        draw_curve(ax, past, color="0.75", marker="", linewidth=0.6, zorder=1, label="each step's batch")
    for k, color in enumerate(style.checkpoint_colors(dots.x.size)):
        label = "checkpoint" if k == 0 else "_"
        ax.plot(dots.x[k : k + 1], dots.y[k : k + 1], "o", markersize=4.5, color=color, zorder=3, label=label)
    progress = training_progress(measurements)
    set_progress_axis(ax, progress)
    ax.set_ylim(-0.04, 1.06)
    ax.set_ylabel("accuracy" if np.isnan(_said(measurements)).any() else "training accuracy")
    note_if_empty(ax, [dots] if past is None else [past, dots], "accuracy not known")
    if legend:
        legend_above(ax)
    return ax


def numbers_of_training_accuracy(
    measurements: xr.Dataset, history: pd.DataFrame | None = None
) -> pd.DataFrame:
    """What ``plot_training_accuracy`` draws, one row a point."""
    past, dots = accuracy_curves(measurements, history)
    return table([dots] if past is None else [dots, past])


def _said(measurements: xr.Dataset) -> npt.NDArray[np.float64]:
    """What the checkpoints say of their accuracy in training (checkpoint); NaN where one does not."""
    if variables.TRAIN_ACCURACY not in measurements.variables:
        return np.full(measurements.sizes["checkpoint"], np.nan)
    return np.asarray(np.atleast_1d(measurements[variables.TRAIN_ACCURACY].values), dtype=np.float64)


def accuracy_curves(measurements: xr.Dataset, history: pd.DataFrame | None) -> tuple[Curve | None, Curve]:
    """The training run, None where it cannot be placed, and the checkpoints."""
    progress = training_progress(measurements)
    said, seen = _said(measurements), np.full(progress.values.shape, np.nan)
    if variables.ACCURACY in measurements:
        seen = measurements[variables.ACCURACY].sel(eta=0.0).values.reshape(seen.shape)
    y = np.where(np.isnan(said), seen, said)
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
        kind="points",
    )
    if history is None or progress.name not in history or "accuracy" not in history or not len(history):
        return None, dots
    x, batch = (history[name].to_numpy(dtype=np.float64) for name in (progress.name, "accuracy"))
    return Curve("each step's batch", x, batch, progress.name, "accuracy", log_x=False, log_y=False), dots

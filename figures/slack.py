"""Where the bounds lose their tightness: a bar from the measured change to Theorem 1 as published."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd  # type: ignore[import-untyped, unused-ignore]
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator

from figures import style
from figures.curves import Curve, table
from figures.drawing import axes_or_new, in_style
from figures.envelopes import power_axis
from figures.labels import (
    USUAL_ETA,
    at_even_steps,
    checkpoint_names,
    claim_label,
    eta_title,
    label_of,
    nearest_eta,
    training_progress,
)
from figures.legends import gathered_legend, legend_above

__all__ = ["draw_slack", "numbers_of_slack", "plot_slack"]

_MEASURED = "measured"
_MOST_LABELS = 10
_MANY_DECADES = 8
_PALE = 0.35
_ENDLESS, _DOWNWARDS = "/////", "....."


@in_style
def plot_slack(
    slack: xr.Dataset, *, eta: float = USUAL_ETA, ax: Axes | None = None, legend: bool = True
) -> Axes:
    """What loosens the bound, checkpoint by checkpoint: a bar from the measured change to Theorem 1 as published.

    Each part of a bar is one step of the chain. What a step gains instead of losing is stacked downwards from
    the measured change. A step to an infinite bound is open-ended; nothing is known after it. Where a premise
    of the bound that it leads to is not known to hold it is pale. The row above is the published bound itself.

    Args:
        slack: ``log10_rung`` and ``premises_hold`` (rung, checkpoint, eta), ``share`` (cause, checkpoint, eta).
        eta: the measured η nearest to it is drawn.
        ax: where to draw; None for a new figure.
        legend: whether to write one above the axes.
    """
    new, ax = ax is None, axes_or_new(ax)
    measured, published, *shares = _slack_curves(slack, eta)
    colors = _colors(slack)
    base = np.asarray(measured.y, dtype=np.float64)
    top, bottom = base.copy(), base.copy()
    bars = []
    for curve in shares:
        for k in np.flatnonzero(curve.shown & np.isfinite(base)):
            start = top[k] if curve.y[k] >= 0 else bottom[k]
            bars.append(_bar(ax, int(k), start, curve.y[k], curve, colors))
            (top if curve.y[k] >= 0 else bottom)[k] = start + curve.y[k]
    floor, ceiling = _ends(bottom, top, published.y, [curve.y for curve in shares])
    for curve in shares:
        for k in np.flatnonzero(curve.overflowed & np.isfinite(base)):
            _bar(ax, int(k), top[k], ceiling - top[k], curve, colors, endless=True)
            height = ceiling - 0.02 * (ceiling - floor)
            ax.text(float(k), height, "∞", ha="center", va="top", fontsize="small", zorder=4, bbox=_WHITE)
    ax.set_ylim(floor, ceiling)
    _mark_levels(ax, measured, published, open_ended=[curve.overflowed for curve in shares])
    _explain(ax, shares, colors)
    if len(base) <= _MOST_LABELS:
        _write_shares(ax, bars, ceiling - floor)
    _checkpoint_axis(ax, slack, published)
    power_axis(ax)
    if ceiling - floor < _MANY_DECADES:
        decades = np.arange(math.floor(floor), ceiling)
        ax.yaxis.set_minor_locator(FixedLocator(np.add.outer(decades, np.log10(np.arange(2, 10))).ravel()))
        ax.set_ylim(floor, ceiling)
    ax.set_xlabel(f"{ax.get_xlabel()}, at {eta_title(slack, eta)}")
    ax.set_ylabel("relative change of the output")
    if not np.isfinite(base).any():
        ax.text(0.5, 0.5, "no change above the noise", transform=ax.transAxes, ha="center", color="0.4")
    if legend:
        legend_above(ax, lift=0.08, grow=new)
    return ax


def draw_slack(slack: xr.Dataset, *, eta: float = USUAL_ETA) -> Figure:
    """``plot_slack`` as a figure of its own, one column wide."""
    with style.context():
        figure = Figure(figsize=(style.COLUMN_WIDTH, 3.2), layout="constrained")
        ax = plot_slack(slack, eta=eta, ax=figure.subplots(), legend=False)
        gathered_legend(figure, [ax])
    return figure


def numbers_of_slack(slack: xr.Dataset, *, eta: float = USUAL_ETA) -> pd.DataFrame:
    """What ``plot_slack`` draws, one row a part: the ends of each bar in log10, its parts in orders of magnitude."""
    return table(_slack_curves(slack, eta))


_WHITE = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"}


def _slack_curves(slack: xr.Dataset, eta: float) -> list[Curve]:
    """The measured change, the published bound, and a curve for each cause."""
    one = slack.isel(eta=nearest_eta(slack, eta))
    progress = training_progress(slack)
    common: dict[str, Any] = {
        "checkpoint": tuple(checkpoint_names(slack)),
        "panel": eta_title(slack, eta),
        "log_x": False,
        "log_y": False,
        "mark_all": True,
    }
    rungs = one["log10_rung"].transpose("rung", "checkpoint")
    holds = one["premises_hold"].transpose("rung", "checkpoint")
    shares = one["share"].transpose("cause", "checkpoint")

    def curve(series: str, values: xr.DataArray, name: str, **more: Any) -> Curve:
        y = np.asarray(values.values, dtype=np.float64)
        return Curve(series, progress.values, y, progress.name, name, **common, **more)

    last = str(rungs["rung"].values[-1])
    found = [curve(_MEASURED, rungs[0], "mean_log10", kind="points")]
    found += [curve(last, rungs[-1], "mean_log10", kind="points", premises=_truths(holds[-1]))]
    return found + [
        curve(str(name), shares[k], "orders_of_magnitude", kind="bar", premises=_truths(holds[k + 1]))
        for k, name in enumerate(shares["cause"].values)
    ]


def _truths(holds: xr.DataArray) -> npt.NDArray[np.float64]:
    return np.asarray(holds.values, dtype=np.float64)


def _colors(slack: xr.Dataset) -> dict[str, style.RGB]:
    """Each cause has the colour of the bound that it leads to."""
    rungs = [str(name) for name in slack["rung"].values[1:]]
    looks = style.claim_looks(rungs)
    return {str(cause): looks[rung][0] for cause, rung in zip(slack["cause"].values, rungs, strict=True)}


def _bar(
    ax: Axes,
    place: int,
    start: float,
    height: float,
    curve: Curve,
    colors: dict[str, style.RGB],
    *,
    endless: bool = False,
) -> Rectangle:
    color = colors[curve.series]
    pale = not bool(curve.proven[place])
    face = (*color, _PALE if pale else 1.0)
    hatch = _ENDLESS if endless else _DOWNWARDS if height < 0 else None
    bar: Rectangle
    (bar,) = ax.bar(
        [place],
        [height],
        bottom=start,
        width=0.72,
        facecolor=face,
        edgecolor="white",
        linewidth=0.5,
        hatch=hatch,
    )
    bar.set_gid(f"{curve.series}{' endless' if endless else ''}")
    return bar


def _explain(ax: Axes, shares: Sequence[Curve], colors: dict[str, style.RGB]) -> None:
    """What colours, paleness and hatches mean, each if it is there, in the legend."""

    def sample(label: str, color: Any, hatch: str | None = None) -> None:
        ax.fill_between([], [], [], label=label, facecolor=color, hatch=hatch, edgecolor="white", linewidth=0)

    drawn = [(curve, curve.shown | curve.overflowed) for curve in shares]
    for curve, where in reversed(drawn):  # as they are stacked
        if where.any():
            sample(curve.series, colors[curve.series])
    if any((where & ~curve.proven).any() for curve, where in drawn):
        sample("premise fails (pale)", "0.8")
    if any(curve.overflowed.any() for curve in shares):
        sample("infinite, rest unknown", "0.6", _ENDLESS)
    if any((curve.y[curve.shown] < 0).any() for curve in shares):
        sample("tightens", "0.6", _DOWNWARDS)


def _ends(
    bottom: npt.NDArray[np.float64],
    top: npt.NDArray[np.float64],
    published: npt.NDArray[np.float64],
    shares: Sequence[npt.NDArray[np.float64]],
) -> tuple[float, float]:
    """The axis: all finite parts, with room above them for those that have no end."""
    endless = np.any(np.isposinf(shares), axis=0)
    levels = np.concatenate([bottom, top, published[~endless]])
    levels = levels[np.isfinite(levels)]
    if not levels.size:
        return 0.0, 1.0
    span = max(float(levels.max() - levels.min()), 1.0)
    low, high = (
        float(levels.min()) - 0.06 * span,
        float(levels.max()) + (0.3 if endless.any() else 0.06) * span,
    )
    # a power of ten in view, for the axis to say where it is
    return (low, high) if math.floor(high) >= low else (float(math.floor(low)), high)


def _mark_levels(
    ax: Axes, measured: Curve, published: Curve, open_ended: Sequence[npt.NDArray[np.bool_]]
) -> None:
    """A black line at the measured change, and a dotted one at the published bound where the chain reaches it."""
    ends = ~np.any(open_ended, axis=0)
    for curve, where, line, label in (
        (measured, measured.shown, "-", "measured (mean of log10)"),
        (
            published,
            published.shown & measured.shown & ends,
            ":",
            f"{claim_label(published.series)}, as published",
        ),
    ):
        places = np.flatnonzero(where)
        if places.size:
            ax.hlines(
                curve.y[places],
                places - 0.43,
                places + 0.43,
                color="black",
                linestyle=line,
                linewidth=1.3,
                label=label,
            )


def _write_shares(ax: Axes, bars: Sequence[Rectangle], span: float) -> None:
    """Each part's orders of magnitude, in those tall enough for it."""
    for bar in bars:
        height = bar.get_height()
        if abs(height) > 0.07 * span:
            red, green, blue, alpha = to_rgba(bar.get_facecolor())
            light = alpha < 1 or 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.5
            ax.text(
                bar.get_x() + bar.get_width() / 2,
                bar.get_y() + height / 2,
                f"{height:.1f}".replace("-", "−"),
                ha="center",
                va="center",
                fontsize=5.5,
                color="black" if light or height < 0 else "white",
                bbox=_WHITE if height < 0 else None,
            )


def _checkpoint_axis(ax: Axes, slack: xr.Dataset, published: Curve) -> None:
    """A place for each checkpoint, with its label below and the published bound above."""
    count = slack.sizes["checkpoint"]
    written = at_even_steps(count, _MOST_LABELS)
    ax.set_xticks(written, [label_of(slack, k) for k in written])
    ax.set_xlim(-0.6, count - 0.4)
    ax.grid(visible=False, axis="x")
    name = training_progress(slack).name
    ax.set_xlabel({"step": "training step", "epoch": "epoch"}.get(name, "checkpoint"))
    look: dict[str, Any] = {
        "xycoords": ax.get_xaxis_transform(),
        "textcoords": "offset points",
        "fontsize": 6,
    }
    if not (published.shown | published.overflowed).any():
        return
    ax.annotate(f"{claim_label(published.series)}:", (-0.62, 1.0), (0, 7), ha="right", **look)
    for k in written:
        value = float(published.y[k])
        text = "–" if math.isnan(value) else "∞" if math.isinf(value) else f"$10^{{{value:.0f}}}$"
        ax.annotate(text, (k, 1.0), (0, 7), ha="center", **look)

"""How every figure draws: curves with honest marks, legends and keys beside the data, limits."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures import style
from figures.curves import Curve

__all__ = [
    "BELOW_NOISE",
    "CHECKPOINT",
    "OVERFLOW",
    "axes_or_new",
    "color_key",
    "draw_curve",
    "gathered_legend",
    "legend_above",
    "mark_edge",
    "note_if_empty",
    "set_log_limits",
]

OVERFLOW = "overflow"
BELOW_NOISE = "below noise floor"
CHECKPOINT = "checkpoint"
_MARK_HEIGHT, _MARK_SPACING = 0.975, 0.045  # in shares of the axes' height
_CHARACTER, _HANDLE = (
    0.054,
    0.42,
)  # inches in a legend of the style PAPER: a letter, and what goes with a label


def axes_or_new(ax: Axes | None) -> Axes:
    """``ax`` as it is, or the axes of a new figure in this project's style, one column wide."""
    if ax is not None:
        return ax
    with style.context():
        return Figure(figsize=(style.COLUMN_WIDTH, 2.5), layout="constrained").subplots()


def draw_curve(
    ax: Axes,
    curve: Curve,
    *,
    color: Any,
    overflow: str = OVERFLOW,
    zero: str = "zero",
    marks: bool = True,
    **line: Any,
) -> list[Line2D]:
    """Draw the points of ``curve``: a line, hollow below the noise floor, a triangle where it overflows.

    Args:
        ax: where.
        curve: what.
        color: of all its parts.
        overflow: the legend's word for the triangle at the upper edge.
        zero: the legend's word for the triangle at the lower edge.
        marks: whether there are triangles.
        line: further properties of the line, such as ``label``.

    Returns:
        The artists: the line, and where needed the hollow points and the triangle.
    """
    solid = curve.shown & ~curve.below_noise
    placed = curve.placed
    properties: dict[str, Any] = {"marker": ".", "markersize": 2.0, **line}
    artists = ax.plot(curve.x[placed], np.where(solid, curve.y, np.nan)[placed], color=color, **properties)
    if curve.below_noise.any():
        hollow = np.where(curve.below_noise, curve.y, np.nan)[placed]
        artists += ax.plot(
            curve.x[placed],
            hollow,
            color=color,
            marker="o",
            markersize=2.8,
            markerfacecolor="white",
            markeredgewidth=0.6,
            linewidth=0.5,
            linestyle=":",
            alpha=0.7,
            label=_once(ax, BELOW_NOISE),
        )
    if marks:
        artists += [mark_edge(ax, float(x), color=color, label=overflow) for x in curve.x[curve.marked_above]]
        artists += [
            mark_edge(ax, float(x), color=color, label=zero, bottom=True) for x in curve.x[curve.marked_below]
        ]
    return artists


def mark_edge(ax: Axes, x: float, *, color: Any, label: str, bottom: bool = False) -> Line2D:
    """A triangle at the top (or bottom) edge: the value at ``x`` is there, but beyond any axis.

    Marks at the same ``x`` are put one under the other, so that none hides another.
    """
    gid = f"edge {'bottom' if bottom else 'top'}"
    taken = sum(line.get_gid() == gid and float(np.asarray(line.get_xdata())[0]) == x for line in ax.lines)
    height = _MARK_HEIGHT - _MARK_SPACING * taken
    (mark,) = ax.plot(
        [x],
        [1 - height if bottom else height],
        transform=ax.get_xaxis_transform(),
        linestyle="none",
        marker="v" if bottom else "^",
        markersize=4.5,
        color=color,
        markeredgecolor="white",
        markeredgewidth=0.4,
        zorder=5,
        gid=gid,
        label=_once(ax, label),
    )
    return mark


def _once(ax: Axes, label: str) -> str:
    """``label`` for the first artist that bears it, and matplotlib's "not in the legend" for the others."""
    return "_" + label if any(line.get_label() == label for line in ax.lines) else label


def legend_above(ax: Axes) -> None:
    """A legend above the axes, where it can cover no data; none if there are no labels."""
    handles = _handles([ax])
    if handles:
        ax.legend(
            list(handles.values()),
            list(handles),
            loc="lower left",
            bbox_to_anchor=(0.0, 1.01),
            borderaxespad=0.0,
            borderpad=0.2,
            ncols=_columns(list(handles), ax.get_position().width * _width(ax.get_figure(root=True))),
        )


def gathered_legend(figure: Figure, axes: Iterable[Axes]) -> None:
    """One legend for all ``axes`` below them, each label once."""
    handles = _handles(axes)
    if handles:
        columns = _columns(list(handles), _width(figure))
        figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=columns)


def _width(figure: Figure | None) -> float:
    return style.COLUMN_WIDTH if figure is None else float(figure.get_figwidth())


def _columns(labels: Sequence[str], width: float) -> int:
    """How many columns of a legend fit into ``width`` inches; legends are filled column by column."""
    for columns in range(len(labels), 1, -1):
        rows = -(-len(labels) // columns)
        widest = [max(_length(text) for text in labels[k : k + rows]) for k in range(0, len(labels), rows)]
        if sum(_CHARACTER * count + _HANDLE for count in widest) <= width:
            return columns
    return 1


def _length(label: str) -> int:
    """Characters that are seen: TeX commands count as one, its signs as none."""
    return len(re.sub(r"[${}_^ ](?=[^ ]*\$)|\$$", "", re.sub(r"\\[a-zA-Z]+", "x", label)))


def _handles(axes: Iterable[Axes]) -> dict[str, Any]:
    """Each label's first artist; what stands for every colour is shown in grey."""
    found: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            found.setdefault(label, _grey(handle) if label in (BELOW_NOISE, OVERFLOW, CHECKPOINT) else handle)
    return found


def _grey(handle: Any) -> Any:
    if not isinstance(handle, Line2D):
        return handle
    hollow = handle.get_linestyle() == ":"
    return Line2D(
        [],
        [],
        color="0.35",
        marker=handle.get_marker(),
        markersize=handle.get_markersize(),
        markerfacecolor="white" if hollow else "0.35",
        markeredgewidth=0.6,
        linestyle=":" if hollow else "none",
        linewidth=0.5,
    )


def color_key(
    ax: Axes, labels: Sequence[str], colors: Sequence[style.RGB], *, title: str, most: int = 10
) -> Axes:
    """A thin key to the right of ``ax``, one colour a label; of more than ``most`` only some are written.

    Returns:
        The key's own axes.
    """
    count = len(labels)
    key = ax.inset_axes((1.03, 0.0, 0.035, 1.0))
    mappable = ScalarMappable(
        BoundaryNorm(np.arange(count + 1) - 0.5, max(count, 1)), ListedColormap(list(colors))
    )
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("axes outside any figure cannot have a key")
    bar = figure.colorbar(mappable, cax=key)
    written = list(range(0, count, -(-(count - 1) // (most - 1)) or 1))
    bar.set_ticks(written, labels=[labels[k] for k in written])
    bar.ax.tick_params(length=0, pad=2, labelsize="small")
    bar.ax.minorticks_off()
    bar.outline.set_visible(False)
    bar.ax.set_title(title, loc="left", fontsize="small", pad=3)
    return key


def set_log_limits(ax: Axes, curves: Iterable[Curve], *, lower: float, upper: float) -> None:
    """Show at least ``lower`` to ``upper`` on the log y axis, and all decades that the curves reach beyond.

    What ``ax`` showed before, if it held something, stays in view.
    """
    ends = [lower, upper, *(ax.get_ylim() if ax.get_autoscaley_on() is False else ())]
    for curve in curves:
        ends += [10.0 ** math.floor(math.log10(float(value))) for value in _least(curve)]
        ends += [10.0 ** math.ceil(math.log10(float(value))) for value in _most(curve)]
    ax.set_ylim(min(ends), max(ends))


def _least(curve: Curve) -> list[float]:
    values = curve.y[curve.shown]
    return [float(values.min())] if values.size else []


def _most(curve: Curve) -> list[float]:
    values = curve.y[curve.shown]
    return [float(values.max())] if values.size else []


def note_if_empty(ax: Axes, curves: Iterable[Curve], text: str) -> None:
    """Write ``text`` into axes that have nothing to show, so that they are not taken for a mistake."""
    if not any(curve.shown.any() for curve in curves):
        ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color="0.4")

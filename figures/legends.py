"""Legends and colour keys, always beside the data."""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import TextPath

from figures import style
from figures.drawing import BELOW_NOISE, CHECKPOINT, EDGE, MEASURED_LIMIT
from figures.zeros import ZERO_STRIP

__all__ = ["EVERYBODYS", "color_key", "gathered_legend", "legend_above"]

EVERYBODYS = "0.35"
"""The grey of what stands in the legend for every colour."""
_HANDLE = 0.26  # inches of what goes with a label
_BETWEEN = 0.12  # inches from one column to the next
_PADDING = 0.12  # inches around a legend
_HINTING = 1.02  # how much wider than its outline a text may be drawn
_ROW = 0.15  # inches of a row
_PLAIN = 2.3  # inches of a figure without any
_FEW = 4  # rows that a whole figure has room for


def legend_above(ax: Axes, *, lift: float = 0.0, grow: bool = False, note: str = "") -> None:
    """A legend above the axes, where it can cover no data; none if there are no labels.

    Args:
        ax: which.
        lift: how much higher, in shares of the axes' height, to leave room for text above them.
        grow: whether the figure may become taller, so that a long legend leaves the axes their height.
        note: what is not drawn, and why.
    """
    figure = ax.get_figure(root=True)
    handles, rows, look = _legend([ax], ax.get_position().width * _width(figure), note)
    if not rows:
        return
    ax.legend(
        list(handles.values()),
        list(handles),
        loc="lower left",
        bbox_to_anchor=(0.0, 1.01 + lift),
        borderaxespad=0.0,
        borderpad=0.2,
        **look,
    )
    if grow and figure is not None:
        figure.set_figheight(max(figure.get_figheight(), _PLAIN + _ROW * rows))


def gathered_legend(figure: Figure, axes: Iterable[Axes], note: str = "") -> None:
    """One legend for all ``axes`` below them, each label once; a long one makes the figure taller.

    Args:
        figure: of the axes.
        axes: whose labels.
        note: what is not drawn, and why.
    """
    handles, rows, look = _legend(axes, _width(figure), note)
    if rows:
        figure.legend(list(handles.values()), list(handles), loc="outside lower center", **look)
        figure.set_figheight(figure.get_figheight() + _ROW * max(rows - _FEW, 0))


def _legend(axes: Iterable[Axes], width: float, note: str) -> tuple[dict[str, Any], int, dict[str, Any]]:
    """Handles by their label, how many rows they and the note take, and the legend's further arguments.

    No row is wider than ``width`` inches.
    """
    room = width - _PADDING
    handles = {_broken(label, room - _HANDLE): handle for label, handle in _handles(axes).items()}
    columns = _columns(list(handles), room)
    told = _broken(note, room)
    rows = -(-sum(1 + label.count("\n") for label in handles) // columns) + told.count("\n") + bool(told)
    title = {"title": told, "title_fontsize": "small", "alignment": "left"} if told else {}
    return handles, rows, {"ncols": columns, **title}


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


def _handles(axes: Iterable[Axes]) -> dict[str, Any]:
    """Each label's first artist; what stands for every colour is shown in grey, and comes last."""
    found: dict[str, Any] = {}
    marks: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            at_edge = isinstance(handle, Artist) and handle.get_gid() in (EDGE, ZERO_STRIP)
            everybodys = at_edge or label in (BELOW_NOISE, CHECKPOINT, MEASURED_LIMIT)
            (marks if everybodys else found).setdefault(label, _grey(handle) if everybodys else handle)
    return found | marks


def _columns(labels: Sequence[str], width: float) -> int:
    """How many columns of a legend fit into ``width`` inches; legends are filled column by column."""
    lengths = [_length(label) for label in labels]
    for columns in range(len(labels), 1, -1):
        rows = -(-len(labels) // columns)
        widest = [max(lengths[k : k + rows]) for k in range(0, len(labels), rows)]
        if sum(length + _HANDLE + _BETWEEN for length in widest) - _BETWEEN <= width:
            return len(widest)  # so many are filled
    return 1


def _broken(label: str, width: float) -> str:
    """A label in as many lines as it takes to be no wider than ``width`` inches."""
    if not label or _length(label) <= width:
        return label
    letters = max(int(len(label) * width / _length(label)), 8)
    if "$" in label:  # a formula stays whole
        return label
    while (lines := textwrap.fill(label, letters)) and _length(lines) > width and letters > 8:
        letters -= 1
    return lines


@functools.cache
def _length(label: str) -> float:
    """Inches of the longest line of a label, as it will be drawn."""
    font = FontProperties(family=style.PAPER["font.sans-serif"], size=style.PAPER["legend.fontsize"])
    lines = [line for line in label.splitlines() if line.strip()]
    widths = [float(TextPath((0, 0), line, prop=font).get_extents().width) / 72 for line in lines]
    return _HINTING * max(widths, default=0.0)


def _width(figure: Figure | None) -> float:
    return style.COLUMN_WIDTH if figure is None else float(figure.get_figwidth())


def _grey(handle: Any) -> Any:
    if not isinstance(handle, Line2D):
        return handle
    hollow = handle.get_linestyle() == ":"
    return Line2D(
        [],
        [],
        color=EVERYBODYS,
        marker=handle.get_marker(),
        markersize=handle.get_markersize(),
        markerfacecolor="white"
        if hollow
        else "none"
        if handle.get_markerfacecolor() == "none"
        else EVERYBODYS,
        markeredgewidth=0.6,
        linestyle=":" if hollow else "none",
        linewidth=0.5,
    )

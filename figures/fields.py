"""Functions of the plane with their decision boundaries, and sheets of images, above a study's panels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style
from figures.legends import gathered_legend
from figures.panels import Panel, plot_panels

__all__ = ["Field", "Sheet", "draw_fields", "plot_field", "plot_sheet"]

_LIMIT = 1.5
_HEIGHT, _ROOM = 0.86, 0.35  # inches of a field, and of titles above
_ACROSS = 5
_NEGATIVE, _POSITIVE = "#2d004b", "#7f3b08"
"""Of points: the dark ends of the fields' purple and orange."""


@dataclass(frozen=True)
class Field:
    """A function on [−1, 1]², positive for one class and negative for the other.

    Attributes:
        values: at an even grid (y, x), its ends included.
        points: that it should tell apart (n, 2).
        sides: their classes (n,), ±1.
    """

    values: npt.ArrayLike
    points: npt.ArrayLike
    sides: npt.ArrayLike


@dataclass(frozen=True)
class Sheet:
    """Images side by side, a row of them for each label.

    Attributes:
        images: (rows, columns, height, width); the whole sheet has one scale of grey.
        labels: of the rows.
        title: above it.
    """

    images: npt.ArrayLike
    labels: Sequence[str]
    title: str


def plot_field(field: Field, ax: Axes | None = None) -> Axes:
    """Purple below zero and orange above, with the boundary between, and the points that it should tell apart."""
    ax = Figure().subplots() if ax is None else ax
    values = np.asarray(field.values, dtype=float)
    points, sides = np.asarray(field.points, dtype=float), np.asarray(field.sides)
    extent = (-1.0, 1.0, -1.0, 1.0)
    ax.imshow(
        values,
        origin="lower",
        extent=extent,
        cmap="PuOr_r",
        vmin=-_LIMIT,
        vmax=_LIMIT,
        interpolation="bilinear",
    )
    if values.min() < 0 < values.max():
        ax.contour(values, levels=[0.0], extent=extent, colors="black", linewidths=0.6)
    for sign, color in ((-1, _NEGATIVE), (1, _POSITIVE)):
        x, y = points[sides == sign].T
        ax.scatter(x, y, s=0.6, color=color, linewidths=0)
    ax.set(xlim=(-1, 1), ylim=(-1, 1), xticks=[], yticks=[])
    ax.grid(visible=False)
    ax.spines[:].set_visible(True)
    return ax


def plot_sheet(sheet: Sheet, ax: Axes | None = None) -> Axes:
    """The images, dark to light, with the rows' labels beside them."""
    ax = Figure().subplots() if ax is None else ax
    images = np.asarray(sheet.images, dtype=float)
    rows, columns, height, width = images.shape
    ax.imshow(
        images.transpose(0, 2, 1, 3).reshape(rows * height, columns * width), cmap="gray", aspect="equal"
    )
    ax.set_yticks((np.arange(rows) + 0.5) * height - 0.5, list(sheet.labels))
    ax.set(xticks=[], title=sheet.title)
    ax.tick_params(length=0)
    ax.grid(visible=False)
    return ax


def draw_fields(
    fields: Sequence[Sequence[Field]],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    sheet: Sheet,
    panels: Sequence[Panel | None],
    height: float = 1.7,
) -> Figure:
    """Fields in a grid, below them the sheet and the panels, five side by side.

    Args:
        fields: row by row.
        rows: what they are called.
        columns: what stands above each.
        sheet: of images.
        panels: in the order of reading; None leaves a place empty.
        height: of a panel, in inches.
    """
    shape = np.asarray(sheet.images).shape
    side = style.FULL_WIDTH * 0.62
    below = -(-len(panels) // _ACROSS)
    heights = [
        len(rows) * _HEIGHT + _ROOM,
        side * shape[0] * shape[2] / (shape[1] * shape[3]) + _ROOM,
        below * height + _ROOM,
    ]
    with style.context():
        figure = Figure(figsize=(style.FULL_WIDTH, sum(heights)), layout="constrained")
        whole = figure.add_gridspec(3, 1, height_ratios=heights)
        grid = whole[0].subgridspec(len(rows), len(columns)).subplots(squeeze=False)
        for axes, called, row in zip(grid, rows, fields, strict=True):
            for ax, field in zip(axes, row, strict=True):
                plot_field(field, ax)
            axes[0].set_ylabel(called)
        for ax, called in zip(grid[0], columns, strict=True):
            ax.set_title(called, fontsize=style.PAPER["xtick.labelsize"])
        plot_sheet(sheet, figure.add_subplot(whole[1]))
        rest = whole[2].subgridspec(below, _ACROSS).subplots(squeeze=False)
        gathered_legend(figure, plot_panels(panels, [*rest.ravel()]))
    return figure

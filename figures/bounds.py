"""Measured change beside its bounds: of the output, along η and through training, and of each layer's Jacobian.

All bounds on the output stand in one order, from the lowest to the highest: the ladder.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd  # type: ignore[import-untyped, unused-ignore]
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style
from figures.curves import in_panel
from figures.drawing import axes_or_new, in_style
from figures.envelopes import (
    Envelopes,
    Panels,
    any_envelope,
    draw_envelopes,
    envelope_curves,
    set_eta_axis,
    training_curves,
)
from figures.labels import (
    USUAL_ETA,
    checkpoint_position,
    checkpoint_title,
    eta_title,
    evenly_chosen,
    set_progress_axis,
    training_progress,
    weight_layers,
)
from figures.legends import gathered_legend, legend_above

__all__ = [
    "draw_jacobian_bounds",
    "draw_ladder",
    "numbers_of_function_bounds",
    "numbers_of_jacobian_bounds",
    "numbers_of_ladder",
    "numbers_of_ladder_through_training",
    "plot_function_bounds",
    "plot_ladder_through_training",
]

_MOST_PANELS = 16


@in_style
def plot_function_bounds(
    envelopes: Envelopes, *, checkpoint: str | int = -1, ax: Axes | None = None, legend: bool = True
) -> Axes:
    """The measured change of the output along one checkpoint's slice, and what each claim allows.

    The worst example is a solid black line, the median a dashed one, with a grey band between them. A bound
    that is infinite at every η has no line: a note beside the legend names it. One far above all others ends at a
    mark, where the axis is cut. Where a premise of a bound fails its line is thin and faint. The legend names
    the bounds from the lowest to the highest.

    Args:
        envelopes: for each claim's id ``log10_measured``, ``log10_measured_median`` and ``log10_bound``
            over (checkpoint, eta); where known ``premises_hold`` (1, 0 or NaN) too.
        checkpoint: its name, or its position (−1 is the last).
        ax: where to draw; None for a new figure.
        legend: whether to write one above the axes.
    """
    new, ax = ax is None, axes_or_new(ax)
    panels = Panels.of([envelope_curves(envelopes, checkpoint)])
    _draw_along_eta(ax, panels, 0, list(envelopes))
    if legend:
        legend_above(ax, grow=new, note=panels.note)
    return ax


@in_style
def plot_ladder_through_training(
    envelopes: Envelopes, *, eta: float = USUAL_ETA, ax: Axes | None = None, legend: bool = True
) -> Axes:
    """The measured change of the output and what each claim allows, at one η, against training.

    Drawn as ``plot_function_bounds`` draws them along η; a bound that is infinite, or beyond the end of the
    axis, has a triangle at the upper edge. The x axis says which η it is.

    Args:
        envelopes: as for ``plot_function_bounds``.
        eta: the measured η nearest to it is drawn.
        ax: where to draw; None for a new figure.
        legend: whether to write one above the axes.
    """
    new, ax = ax is None, axes_or_new(ax)
    panels = Panels.of([training_curves(envelopes, eta)])
    _draw_training(ax, panels, 0, envelopes)
    ax.set_xlabel(f"{ax.get_xlabel()}, at {eta_title(any_envelope(envelopes), eta)}")
    if legend:
        legend_above(ax, grow=new, note=panels.note)
    return ax


def draw_ladder(
    envelopes: Envelopes, *, eta: float = USUAL_ETA, checkpoints: Sequence[str | int] | None = None
) -> Figure:
    """The ladder along η at a few checkpoints, and beside it (if there are several) at one η through training.

    Args:
        envelopes: as for ``plot_function_bounds``.
        eta: the measured η nearest to it is drawn through training.
        checkpoints: names or positions; None for the first and the last.
    """
    first = any_envelope(envelopes)
    chosen = _chosen_checkpoints(first, checkpoints)
    panels = _panels(envelopes, eta, chosen)
    with style.context():
        figure = Figure(figsize=(style.FULL_WIDTH, 3.4), layout="constrained")
        row = figure.subplots(1, len(panels.curves), squeeze=False, sharey=True)[0]
        for k, place in enumerate(chosen):
            _draw_along_eta(row[k], panels, k, list(envelopes))
            row[k].set_title(checkpoint_title(first, place))
        for ax in row[len(chosen) :]:
            _draw_training(ax, panels, len(chosen), envelopes)
            ax.set_title(f"through training, {eta_title(first, eta)}")
        for k, ax in enumerate(row):
            ax.label_outer()
            ax.tick_params(labelbottom=True)
            ax.set_xlabel("perturbation strength η" if k < len(chosen) else training_progress(first).title)
        gathered_legend(figure, row, note=panels.note)
    return figure


def draw_jacobian_bounds(
    envelopes: Envelopes, *, checkpoint: str | int = -1, layers: Sequence[str] | None = None
) -> Figure:
    """Along one checkpoint's slice, the measured change of each layer's Jacobian and what each claim allows.

    Layer l's panel is of J_{l−1}, the Jacobian of the output with respect to that layer's input.

    Args:
        envelopes: as for ``plot_function_bounds``, over (checkpoint, eta, layer).
        checkpoint: its name, or its position (−1 is the last).
        layers: a small panel for each; None for all with something to show, or 16 evenly chosen ones of more.
    """
    everywhere = weight_layers(any_envelope(envelopes))
    numbers = {name: k + 1 for k, name in enumerate(everywhere)}
    shown = _chosen_layers(envelopes, checkpoint, layers)
    columns = min(4, len(shown))
    rows = math.ceil(len(shown) / columns)
    with style.context():
        figure = Figure(figsize=(style.FULL_WIDTH, 1.0 + 1.3 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        panels = Panels.of(envelope_curves(envelopes, checkpoint, layer) for layer in shown)
        for k, (ax, layer) in enumerate(zip(grid.flat, shown, strict=False)):
            draw_envelopes(ax, panels, k, list(envelopes))
            set_eta_axis(ax, panels.curves[k])
            ax.set_title(f"layer {numbers[layer]}", pad=2)
        for ax in grid.flat[len(shown) :]:
            ax.set_visible(False)
        first = any_envelope(envelopes)
        some = "" if len(shown) == len(everywhere) else f" ({len(shown)} of {len(everywhere)} layers)"
        title = checkpoint_title(first, checkpoint_position(first, checkpoint))
        figure.suptitle(f"Jacobian of the output in each layer's input, {title}{some}", fontsize=8)
        for k, ax in enumerate(grid.flat[: len(shown)]):
            lowest = k + columns >= len(shown)
            ax.set_xlabel("perturbation strength η" if lowest else "")
            ax.tick_params(labelbottom=lowest)
            ax.set_ylabel("" if k % columns else "relative change")
        gathered_legend(figure, grid.flat[: len(shown)], note=panels.note)
    return figure


def numbers_of_function_bounds(envelopes: Envelopes, *, checkpoint: str | int = -1) -> pd.DataFrame:
    """What ``plot_function_bounds`` draws, one row a point."""
    return Panels.of([envelope_curves(envelopes, checkpoint)]).numbers()


def numbers_of_ladder_through_training(envelopes: Envelopes, *, eta: float = USUAL_ETA) -> pd.DataFrame:
    """What ``plot_ladder_through_training`` draws, one row a point."""
    return Panels.of([training_curves(envelopes, eta)]).numbers()


def numbers_of_ladder(
    envelopes: Envelopes, *, eta: float = USUAL_ETA, checkpoints: Sequence[str | int] | None = None
) -> pd.DataFrame:
    """What ``draw_ladder`` draws, one row a point; ``panel`` says where."""
    return _panels(envelopes, eta, _chosen_checkpoints(any_envelope(envelopes), checkpoints)).numbers()


def numbers_of_jacobian_bounds(
    envelopes: Envelopes, *, checkpoint: str | int = -1, layers: Sequence[str] | None = None
) -> pd.DataFrame:
    """What ``draw_jacobian_bounds`` draws, one row a point."""
    shown = _chosen_layers(envelopes, checkpoint, layers)
    return Panels.of(envelope_curves(envelopes, checkpoint, layer) for layer in shown).numbers()


def _chosen_layers(envelopes: Envelopes, checkpoint: str | int, layers: Sequence[str] | None) -> list[str]:
    if layers is not None:
        return list(layers)
    everywhere = weight_layers(any_envelope(envelopes))

    def has_something(layer: str) -> bool:
        return any(curve.shown.any() for curve in envelope_curves(envelopes, checkpoint, layer))

    return evenly_chosen([name for name in everywhere if has_something(name)] or everywhere, _MOST_PANELS)


def _chosen_checkpoints(first: xr.Dataset, checkpoints: Sequence[str | int] | None) -> list[int]:
    if checkpoints is None:
        return sorted({0, first.sizes["checkpoint"] - 1})
    return [checkpoint_position(first, checkpoint) for checkpoint in checkpoints]


def _panels(envelopes: Envelopes, eta: float, chosen: Sequence[int]) -> Panels:
    first = any_envelope(envelopes)
    along = [in_panel(checkpoint_title(first, place), envelope_curves(envelopes, place)) for place in chosen]
    if first.sizes["checkpoint"] > 1:
        along.append(in_panel(f"through training, {eta_title(first, eta)}", training_curves(envelopes, eta)))
    return Panels.of(along)


def _draw_along_eta(ax: Axes, panels: Panels, panel: int, claims: Sequence[str]) -> None:
    """One of ``panels``, of curves along η of the function's change."""
    draw_envelopes(ax, panels, panel, claims)
    set_eta_axis(ax, panels.curves[panel])
    ax.set_ylabel("relative change of the output")


def _draw_training(ax: Axes, panels: Panels, panel: int, envelopes: Envelopes) -> None:
    first = any_envelope(envelopes)
    draw_envelopes(ax, panels, panel, list(envelopes))
    set_progress_axis(ax, training_progress(first))
    ax.set_ylabel("relative change of the output")

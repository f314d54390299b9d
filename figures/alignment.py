"""Alignment of layers' Jacobians through training, of all and of those behind, beside what it makes of a slack."""

from __future__ import annotations

import pandas as pd  # type: ignore[import-untyped, unused-ignore]
import xarray as xr
from matplotlib.figure import Figure

from figures.labels import evenly_chosen, training_progress
from figures.panels import Panel, Series, draw_panels, numbers_of_panels

__all__ = ["draw_alignment", "numbers_of_alignment"]

_MOST_SUFFIXES = 6
_PARTS = {"slack": "slack of ∏β‖W‖", "gates": "by gates", "alignment": "by alignment"}


def draw_alignment(alignment: xr.Dataset) -> Figure:
    """Both panels.

    Args:
        alignment: ``through`` (checkpoint, suffix) and ``orders`` (part, quantile, checkpoint), the quantiles being
            a low one, the median and a high one.
    """
    return draw_panels(_panels(alignment))


def numbers_of_alignment(alignment: xr.Dataset) -> pd.DataFrame:
    """What ``draw_alignment`` draws, one row a point."""
    return numbers_of_panels(_panels(alignment))


def _panels(alignment: xr.Dataset) -> list[Panel]:
    progress = training_progress(alignment)
    suffixes = evenly_chosen(list(alignment["suffix"].values), _MOST_SUFFIXES)
    through = [
        Series(
            "all layers" if k == 1 else f"from layer {k}",
            progress.values,
            alignment["through"].sel(suffix=k).values,
            shade=place / max(len(suffixes), 1),
        )
        for place, k in enumerate(suffixes)
    ]
    orders = alignment["orders"].transpose("part", "quantile", "checkpoint")
    parts = []
    for part, values in zip(orders["part"].values, orders.values, strict=True):
        low, middle, high = values
        parts.append(Series(_PARTS[str(part)], progress.values, middle, low, high))
    what = {"step": "training step"}.get(progress.name, progress.name)
    return [
        Panel("alignment", what, "log10(‖A_L···A_k‖ / ∏‖A_j‖)", through),
        Panel("slack of the product bound", what, "orders of magnitude", parts),
    ]

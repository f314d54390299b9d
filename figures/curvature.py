"""Sharpness through training beside its edge, and as steps tell it."""

from __future__ import annotations

import numpy as np
import pandas as pd  # type: ignore[import-untyped, unused-ignore]
import xarray as xr
from matplotlib.figure import Figure

from figures.labels import training_progress
from figures.panels import Panel, Series, draw_panels, numbers_of_panels

__all__ = ["draw_curvature", "numbers_of_curvature"]

_FORMS = {
    "hessian": "λ of the Hessian",
    "gauss_newton": "λ of Gauss-Newton",
    "block": "largest λ of a layer's block",
    "batch_sharpness": "batch sharpness",
    "critical_sharpness": "critical, 2/s",
    "edge": "edge of stability, 2/η",
}


def draw_curvature(curvature: xr.Dataset) -> Figure:
    """One panel.

    Args:
        curvature: ``hessian``, ``gauss_newton``, ``block``, ``batch_sharpness``, ``critical_sharpness`` and ``edge``
            (checkpoint), NaN where not known.
    """
    return draw_panels(_panels(curvature), columns=1, height=2.6)


def numbers_of_curvature(curvature: xr.Dataset) -> pd.DataFrame:
    """What ``draw_curvature`` draws, one row a point."""
    return numbers_of_panels(_panels(curvature))


def _panels(curvature: xr.Dataset) -> list[Panel]:
    progress = training_progress(curvature)
    values = {name: np.asarray(curvature[name].values, dtype=float) for name in _FORMS}
    shown = [
        Series(label, progress.values, values[name], line=":" if name == "edge" else "-", mark=name != "edge")
        for name, label in _FORMS.items()
        if bool(np.isfinite(values[name]).any())
    ]
    what = {"step": "training step"}.get(progress.name, progress.name)
    return [Panel("sharpness", what, "loss / weight²", shown, log_y=True)]

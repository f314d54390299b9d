"""Figures: plots of measurements and verdicts. They draw what they are given, and never import torch.

A plot function takes labelled arrays and an optional ``ax``, returns the ``ax``, computes no statistics and
changes nothing that it draws. A draw function makes a whole figure. Beside each stands a function that gives the
numbers it draws as a tidy table. One call from measurements to each figure: :mod:`studies.show`.

* the paper's Figure 1: its panels along the slice, training accuracy, and the whole
* bounds: the measured change beside them, along η and through training, of the output and of each layer's Jacobian
* slack: what loosens the bounds
* constants, and step limits: through training and across layers; the constants taken apart
* comparison: runs side by side
* panels: small multiples of a study's series, with bands over seeds
* fields: functions of the plane and sheets of images, above a study's panels
* alignment of layers' Jacobians, through training
* certified labels: which provably do not change, along the slice
* files: a figure with its numbers, or all figures of a report

>>> import numpy as np, xarray as xr
>>> from figures import numbers_of_loss, plot_loss
>>> slices = xr.Dataset(
...     {"loss": (("checkpoint", "eta"), [[2.3, 2.1, np.inf]])},
...     {"checkpoint": ["last"], "eta": [0.0, 0.01, 0.1]},
... )
>>> ax = plot_loss(slices)
>>> ax.get_xlabel()
'perturbation strength η'
>>> print(numbers_of_loss(slices)[["x", "y", "drawn_as"]].to_string(index=False))  # a log axis has no place for 0
   x   y  drawn_as
0.00 2.3 not drawn
0.01 2.1      line
0.10 inf  overflow
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from figures.accuracy import *
    from figures.alignment import *
    from figures.bounds import *
    from figures.certified import *
    from figures.comparison import *
    from figures.constants import *
    from figures.curvature import *
    from figures.fields import *
    from figures.figure1 import *
    from figures.network import *
    from figures.panels import *
    from figures.report.figures import *
    from figures.saving import *
    from figures.slack import *
    from figures.slices import *
    from figures.split import *
    from figures.steps import *

_NAMES = {
    "figure1": "draw_figure1 numbers_of_figure1",
    "slices": "plot_loss numbers_of_loss plot_breakdown numbers_of_breakdown plot_frozen_breakdown",
    "split": "plot_split_through_training plot_split_across_layers draw_split numbers_of_split"
    " draw_frozen_breakdown numbers_of_frozen_breakdown",
    "accuracy": "plot_training_accuracy numbers_of_training_accuracy",
    "bounds": "plot_function_bounds numbers_of_function_bounds"
    " plot_ladder_through_training numbers_of_ladder_through_training draw_ladder numbers_of_ladder"
    " draw_jacobian_bounds numbers_of_jacobian_bounds",
    "slack": "plot_slack draw_slack numbers_of_slack",
    "constants": "plot_constants_through_training numbers_of_constants_through_training"
    " plot_constants_across_layers numbers_of_constants_across_layers draw_constants numbers_of_constants",
    "comparison": "draw_compared_breakdown draw_compared_constants draw_compared_limits"
    " numbers_of_compared_breakdown numbers_of_compared_constants numbers_of_compared_limits",
    "panels": "Panel Series draw_panels numbers_of_panels plot_panels",
    "fields": "Field Sheet draw_fields plot_field plot_sheet",
    "alignment": "draw_alignment numbers_of_alignment",
    "curvature": "draw_curvature numbers_of_curvature",
    "certified": "plot_certified_labels draw_certified_labels numbers_of_certified_labels",
    "steps": "plot_step_limits numbers_of_step_limits",
    "network": "Network",
    "saving": "FORMATS save_figure",
    "report.figures": "draw_step_limits numbers_of_all_step_limits write_report_figures",
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import on first use: matplotlib and seaborn are slow to load."""
    if name in _HOMES:
        return getattr(import_module(f"figures.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]

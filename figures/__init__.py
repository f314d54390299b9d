"""Figures: plots of measurements and verdicts. They draw what they are given, and never import torch.

* figure1: the paper's Figure 1, panel for panel, with deep relative trust and Lemma 2's limit drawn in
* bounds: measured change against its bounds, for the function and for each layer's Jacobian
* ladder: all bounds on the function, through training too, and what loosens them
* steps: the four step limits through training
* constants: the effective constants through training and across layers
* saving: a figure to files, with the numbers that it drew
* report: all of these at once
* style: rcParams dictionaries, to be used in a context, and colours

A plot function takes labelled arrays and an optional ``ax``, returns the ``ax``, computes no statistics and
changes nothing that it draws. Beside each stands a function that gives the numbers it draws as a tidy table.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from figures.bounds import (
        draw_function_bounds,
        draw_jacobian_bounds,
        numbers_of_function_bounds,
        numbers_of_jacobian_bounds,
        plot_function_bounds,
    )
    from figures.constants import (
        draw_constants,
        numbers_of_constants,
        numbers_of_constants_across_layers,
        numbers_of_constants_through_training,
        plot_constants_across_layers,
        plot_constants_through_training,
    )
    from figures.figure1 import (
        draw_figure1,
        numbers_of_breakdown,
        numbers_of_figure1,
        numbers_of_loss,
        numbers_of_training_accuracy,
        plot_breakdown,
        plot_loss,
        plot_training_accuracy,
    )
    from figures.ladder import (
        draw_ladder,
        draw_slack,
        numbers_of_ladder,
        numbers_of_ladder_through_training,
        numbers_of_slack,
        plot_ladder_through_training,
        plot_slack,
    )
    from figures.network import Network
    from figures.report.figures import draw_step_limits, numbers_of_all_step_limits, write_report_figures
    from figures.saving import FORMATS, save_figure
    from figures.steps import numbers_of_step_limits, plot_step_limits

_HOMES = {
    "bounds": (
        "draw_function_bounds",
        "draw_jacobian_bounds",
        "numbers_of_function_bounds",
        "numbers_of_jacobian_bounds",
        "plot_function_bounds",
    ),
    "constants": (
        "draw_constants",
        "numbers_of_constants",
        "numbers_of_constants_across_layers",
        "numbers_of_constants_through_training",
        "plot_constants_across_layers",
        "plot_constants_through_training",
    ),
    "figure1": (
        "draw_figure1",
        "numbers_of_breakdown",
        "numbers_of_figure1",
        "numbers_of_loss",
        "numbers_of_training_accuracy",
        "plot_breakdown",
        "plot_loss",
        "plot_training_accuracy",
    ),
    "ladder": (
        "draw_ladder",
        "draw_slack",
        "numbers_of_ladder",
        "numbers_of_ladder_through_training",
        "numbers_of_slack",
        "plot_ladder_through_training",
        "plot_slack",
    ),
    "network": ("Network",),
    "report.figures": ("draw_step_limits", "numbers_of_all_step_limits", "write_report_figures"),
    "saving": ("FORMATS", "save_figure"),
    "steps": ("numbers_of_step_limits", "plot_step_limits"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "FORMATS",
    "Network",
    "draw_constants",
    "draw_figure1",
    "draw_function_bounds",
    "draw_jacobian_bounds",
    "draw_ladder",
    "draw_slack",
    "draw_step_limits",
    "numbers_of_all_step_limits",
    "numbers_of_breakdown",
    "numbers_of_constants",
    "numbers_of_constants_across_layers",
    "numbers_of_constants_through_training",
    "numbers_of_figure1",
    "numbers_of_function_bounds",
    "numbers_of_jacobian_bounds",
    "numbers_of_ladder",
    "numbers_of_ladder_through_training",
    "numbers_of_loss",
    "numbers_of_slack",
    "numbers_of_step_limits",
    "numbers_of_training_accuracy",
    "plot_breakdown",
    "plot_constants_across_layers",
    "plot_constants_through_training",
    "plot_function_bounds",
    "plot_ladder_through_training",
    "plot_loss",
    "plot_slack",
    "plot_step_limits",
    "plot_training_accuracy",
    "save_figure",
    "write_report_figures",
]


def __getattr__(name: str) -> Any:
    """Import on first use: matplotlib and seaborn are slow to load."""
    if name in _HOME_OF:
        return getattr(import_module(f"figures.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""The step limits of every checkpoint side by side."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from analysis.completion import completed
from analysis.wording import number
from trust import measurements as variables
from trust.claims.quantities import constant_at_small_eta, cos_theta
from trust.claims.steps import calibrated_limit, curvature_limit, lemma2_limit

__all__ = ["how_far_searched", "step_limits"]


def step_limits(measurements: xr.Dataset) -> xr.Dataset:
    """Lemma 2's, the calibrated, the slice curvature's, the predicted and the measured step limit (checkpoint).

    Returns:
        ``lemma2``, ``calibrated``, ``curvature`` (of :func:`trust.claims.steps.slice_curvature`), ``measured`` (NaN
        where the loss had not returned at ``searched_to``; both NaN where it was not searched for), ``evaluations``
        of the loss that it took beside the grid's, ``predicted`` with the gradients and losses that it took
        (``predicted_gradients``, ``predicted_losses``), ``certified`` (of the mean loss of the first
        ``certified_examples``, those of ``--pattern``; NaN without it), ``cos_theta`` and ``constant``.
    """
    measurements = completed(measurements)
    found = {
        "lemma2": 10.0 ** lemma2_limit(measurements),
        "calibrated": 10.0 ** calibrated_limit(measurements),
        "curvature": 10.0 ** curvature_limit(measurements),
        "certified": _optional(measurements, variables.CERTIFIED_STEP),
        "certified_examples": _certified_examples(measurements),
        "measured": _optional(measurements, variables.STEP_LIMIT),
        "searched_to": _optional(measurements, variables.STEP_LIMIT_SEARCHED_TO),
        "cos_theta": cos_theta(measurements),
        "constant": constant_at_small_eta(measurements),
        "evaluations": _optional(measurements, variables.STEP_LIMIT_EVALUATIONS),
        "predicted": _optional(measurements, variables.PREDICTED_LIMIT),
        "predicted_gradients": _optional(measurements, variables.PREDICTED_LIMIT_GRADIENTS),
        "predicted_losses": _optional(measurements, variables.PREDICTED_LIMIT_LOSSES),
    }
    return xr.Dataset(found)


def how_far_searched(measurements: xr.Dataset) -> list[str]:
    """For each checkpoint how far and how closely its loss was looked at for a return; empty where that is not known.

    What is said of every smaller η rests on it: a bump narrower than the factor may have been missed, unless the
    slopes beside it told of it.
    """
    names = (
        variables.STEP_LIMIT_SEARCHED_FROM,
        variables.STEP_LIMIT_RESOLUTION,
        variables.STEP_LIMIT_CLEAR_TO,
        variables.STEP_LIMIT,
        variables.STEP_LIMIT_SEARCHED_TO,
    )
    columns = [np.asarray(_optional(measurements, name), dtype=float).tolist() for name in names]
    return [_searched(*values) for values in zip(*columns, strict=True)]


def _searched(start: float, factor: float, clear_to: float, limit: float, searched_to: float) -> str:
    end = searched_to if math.isnan(limit) else limit
    if math.isnan(factor):
        return ""
    words = f"seen from η = {number(start)} to {number(end)}, at least every ×{number(factor)}"
    return (
        words if clear_to >= end else f"{words}; beyond {number(clear_to)} an earlier return remains possible"
    )


def _certified_examples(measurements: xr.Dataset) -> xr.DataArray:
    """Of how many examples the certified step speaks (checkpoint)."""
    if variables.LOSS_RISE_BOUND not in measurements:
        return xr.zeros_like(measurements[variables.SLOPE_AT_ZERO])
    return measurements[variables.LOSS_RISE_BOUND].notnull().any("eta").sum("example")


def _optional(measurements: xr.Dataset, name: str) -> xr.DataArray:
    """A variable (checkpoint), NaN where the run left it out."""
    if name in measurements:
        return measurements[name]
    return xr.full_like(measurements[variables.SLOPE_AT_ZERO], np.nan)

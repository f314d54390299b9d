"""The step limits of every checkpoint side by side."""

from __future__ import annotations

import numpy as np
import xarray as xr

from analysis.completion import completed
from trust import measurements as variables
from trust.claims.quantities import constant_at_small_eta, cos_theta
from trust.claims.steps import calibrated_limit, curvature_limit, lemma2_limit
from trust.descent import curvature_step_limit

__all__ = ["step_limits"]


def step_limits(measurements: xr.Dataset) -> xr.Dataset:
    """Lemma 2's, the calibrated, the slice curvature's and the measured step limit (checkpoint).

    Returns:
        ``lemma2``, ``calibrated``, ``curvature`` (from the difference of slopes), ``curvature_hessian``
        (from the Hessian, blind to ReLU's kinks; NaN where it was not computed), ``measured`` (NaN where the
        loss had not returned at ``searched_to``; both NaN where it was not searched for), ``cos_theta`` and
        ``constant``.
    """
    measurements = completed(measurements)
    limits = {
        "lemma2": 10.0 ** lemma2_limit(measurements),
        "calibrated": 10.0 ** calibrated_limit(measurements),
        "curvature": 10.0 ** curvature_limit(measurements),
        "measured": _optional(measurements, variables.STEP_LIMIT),
        "searched_to": _optional(measurements, variables.STEP_LIMIT_SEARCHED_TO),
        "cos_theta": cos_theta(measurements),
        "constant": constant_at_small_eta(measurements),
        "evaluations": _optional(measurements, variables.STEP_LIMIT_EVALUATIONS),
    }
    hessian = _optional(measurements, "curvature")
    known = hessian.notnull() & measurements[variables.SLOPE_AT_ZERO].notnull()
    limits["curvature_hessian"] = xr.apply_ufunc(
        lambda slope, curvature: curvature_step_limit(slope=slope, curvature=curvature),
        measurements[variables.SLOPE_AT_ZERO].fillna(-1.0),
        hessian.fillna(1.0),
    ).where(known)
    return xr.Dataset(limits)


def _optional(measurements: xr.Dataset, name: str) -> xr.DataArray:
    """A variable (checkpoint), NaN where the run left it out."""
    if name in measurements:
        return measurements[name]
    return xr.full_like(measurements[variables.SLOPE_AT_ZERO], np.nan)

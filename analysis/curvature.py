"""The curvature of every checkpoint side by side: by eigenvalues, along the gradient, and as steps tell it."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from analysis.completion import completed
from trust import measurements as variables
from trust.claims.training import gd_threshold
from trust.measurements import EIGENVALUE_TOLERANCE

__all__ = ["curvature_summary"]

_TOP = {
    "hessian": (variables.HESSIAN_EIGENVALUE, variables.HESSIAN_RESIDUAL),
    "gauss_newton": (variables.GAUSS_NEWTON_EIGENVALUE, variables.GAUSS_NEWTON_RESIDUAL),
    "lowest_hessian": (variables.LOWEST_HESSIAN_EIGENVALUE, variables.LOWEST_HESSIAN_RESIDUAL),
    "preconditioned": (variables.PRECONDITIONED_EIGENVALUE, variables.PRECONDITIONED_RESIDUAL),
}
_NUMBERS = (
    variables.HESSIAN_TRACE,
    variables.HESSIAN_TRACE_ERROR,
    variables.GRADIENT_SHARPNESS,
    variables.BATCH_SHARPNESS,
    variables.BATCH_SHARPNESS_ERROR,
)


def curvature_summary(measurements: xr.Dataset) -> xr.Dataset | None:
    """Each checkpoint's sharpness in every form that was measured; None where no eigenvalue or batch was.

    Returns:
        Over (checkpoint), NaN where it was not measured: ``hessian``, ``gauss_newton``, ``lowest_hessian`` and
        ``preconditioned``, the first eigenvalue of each, with ``…_converged``; ``block``, the largest eigenvalue of a
        layer's own block of the Hessian, and ``block_layer``, which; the trace, gᵀHg/‖g‖² and batch sharpness under
        the variables' names; ``critical_sharpness`` 2/s of the critical learning rate s, in the units of the
        eigenvalues, and ``relative_critical_sharpness`` 2/η of the measured step limit η; ``edge``, 2/η of the step
        size that plain descent trained with.
    """
    kinds = (variables.HESSIAN_EIGENVALUE, variables.LOWEST_HESSIAN_EIGENVALUE, variables.BATCH_SHARPNESS)
    if not any(kind in measurements for kind in kinds):
        return None
    measurements = completed(measurements)
    unknown = xr.full_like(measurements[variables.SLOPE_AT_ZERO], np.nan)
    found: dict[str, xr.DataArray] = {}
    for name, (value, residual) in _TOP.items():
        known = value in measurements
        found[name] = measurements[value].isel(rank=0, drop=True) if known else unknown
        missed = measurements[residual].isel(rank=0, drop=True) if known else unknown
        found[f"{name}_converged"] = missed <= EIGENVALUE_TOLERANCE
    found["block"], found["block_layer"] = _largest_block(measurements, unknown)
    found |= {str(name): measurements.get(name, unknown) for name in _NUMBERS}
    found["critical_sharpness"] = 2 / measurements.get(variables.GRADIENT_STEP_LIMIT, unknown)
    found["relative_critical_sharpness"] = 2 / measurements.get(variables.STEP_LIMIT, unknown)
    # of plain descent alone: others have edges of their own (trust.edge)
    plain = measurements.attrs.get("optimizer") == "sgd" and variables.LEARNING_RATE in measurements.variables
    found["edge"] = gd_threshold(measurements) if plain else unknown
    return xr.Dataset(found)


def _largest_block(measurements: xr.Dataset, unknown: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """The largest eigenvalue of a layer's own block, and which layer's."""
    if variables.LAYER_HESSIAN_EIGENVALUE not in measurements:
        return unknown, xr.full_like(unknown, "", dtype=object)
    first = measurements[variables.LAYER_HESSIAN_EIGENVALUE].isel(rank=0, drop=True)
    largest = first.max("layer")
    names = [
        "" if math.isnan(float(top)) else str(first["layer"].values[int(np.nanargmax(values))])
        for top, values in zip(largest, first.transpose("checkpoint", "layer").values, strict=True)
    ]
    return largest, xr.DataArray(names, dims="checkpoint")

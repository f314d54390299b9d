"""Effective constants: what the constant that deep relative trust sets to one is on a real network."""

from __future__ import annotations

import numpy as np
import xarray as xr

from analysis.completion import completed
from trust.claims.quantities import EVIDENCE, above_noise, effective_constant, log10_trust, smallest_evident

__all__ = ["EVIDENCE", "summarise"]

_FIT_POINTS = 3


def summarise(measurements: xr.Dataset) -> xr.Dataset:
    """Deep relative trust along each slice, and the constant C_l(η) that would make its claim an equality.

    Args:
        measurements: of a run.

    Returns:
        ``deep_relative_trust`` (checkpoint, eta); ``effective_constant`` and ``above_noise`` (checkpoint,
        eta, layer); ``constant``, the constant at the smallest measurable η, and that η as ``constant_eta``
        (checkpoint, layer); ``constant_limit`` (checkpoint, layer), the constant extrapolated to η = 0 by the
        straight line in D through the three smallest measurable points (NaN where there are fewer).
    """
    measurements = completed(measurements)
    constants = effective_constant(measurements)
    smallest, eta = smallest_evident(constants)
    trust = 10.0 ** log10_trust(measurements)
    return xr.Dataset(
        {
            "deep_relative_trust": trust,
            "effective_constant": constants,
            "above_noise": above_noise(measurements),
            "constant": smallest,
            "constant_eta": eta,
            "constant_limit": _extrapolated(constants, trust),
        }
    )


def _extrapolated(constants: xr.DataArray, trust: xr.DataArray) -> xr.DataArray:
    """Intercept of the least-squares line of C against D over the first points that are known."""
    order = constants.notnull().cumsum("eta")
    used = constants.notnull() & (order <= _FIT_POINTS)
    distance = trust.where(used)
    value = constants.where(used)
    mean_distance, mean_value = distance.mean("eta"), value.mean("eta")
    spread = ((distance - mean_distance) ** 2).sum("eta")
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = ((distance - mean_distance) * (value - mean_value)).sum("eta") / spread
    return (mean_value - slope * mean_distance).where(used.sum("eta") == _FIT_POINTS)

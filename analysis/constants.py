"""Effective constants: what the constant that deep relative trust sets to one is on a real network."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from analysis.completion import completed
from trust import measurements as variables
from trust.claims.quantities import EVIDENCE, above_noise, at_small_eta, effective_constant, log10_trust

__all__ = ["EVIDENCE", "ORDER_ONE", "largest_constant", "summarise"]

ORDER_ONE = 0.5
"""A breakdown from which on C is no limit of η → 0: the gradient has already changed by half."""


def summarise(measurements: xr.Dataset) -> xr.Dataset:
    """Deep relative trust along each slice, and the constant C_l(η) that would make its claim an equality.

    Args:
        measurements: of a run.

    Returns:
        ``deep_relative_trust`` (checkpoint, eta); ``effective_constant`` and ``above_noise`` (checkpoint,
        eta, layer); of each (checkpoint, layer) ``constant``, C_l at η → 0 by the rule of
        :func:`trust.claims.quantities.at_small_eta`, with the η that it was read off as ``constant_eta``, the
        breakdown there as ``constant_breakdown`` (from :data:`ORDER_ONE` on the constant is no limit), and
        ``moves``, whether the tensor moves at all; where the split was measured ``frozen_above_noise`` (checkpoint,
        eta, layer), whether the breakdown with the residuals held is evidence.
    """
    measurements = completed(measurements)
    constants = effective_constant(measurements)
    constant, eta = at_small_eta(constants)
    change = measurements[variables.GRADIENT_CHANGE]
    frozen = {}
    if variables.FROZEN_RESIDUAL_CHANGE in measurements:
        held = measurements[variables.FROZEN_RESIDUAL_CHANGE]
        frozen["frozen_above_noise"] = held >= EVIDENCE * measurements[variables.NOISE_FLOOR]
    return xr.Dataset(
        {
            "deep_relative_trust": 10.0 ** log10_trust(measurements),
            "effective_constant": constants,
            "above_noise": above_noise(measurements),
            "constant": constant,
            "constant_eta": eta,
            "constant_breakdown": at_small_eta(change.where(constants.notnull()))[0],
            "moves": (measurements[variables.PERTURBATION_NORM] > 0).any("eta"),
            **frozen,
        }
    )


def largest_constant(one: xr.Dataset) -> tuple[float, int | None]:
    """C at η₀ of one checkpoint of a summary, the largest C_l of all that moves, and its layer's place.

    NaN and None where no constant could be measured.
    """
    constants = one["constant"].where(one["moves"]).values
    if np.isnan(constants).all():
        return math.nan, None
    place = int(np.nanargmax(constants))
    return float(constants[place]), place

"""Effective constants: what the constant that deep relative trust sets to one is on a real network."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from analysis.completion import completed
from trust import measurements as variables
from trust.claims.quantities import (
    above_noise,
    at_small_eta,
    beyond_noise,
    effective_constant,
    log10_trust,
    rounding_share,
)

__all__ = ["ORDER_ONE", "constants_known", "largest_constant", "summarise"]

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
        ``moves``, whether the tensor moves at all; ``largest_constant`` (checkpoint), that of the worst of what moves;
        where the float64 spot check was made ``change_error`` (checkpoint, eta, layer), what rounding may change of the
        breakdown at the η that were checked, NaN elsewhere;
        where the split was measured ``frozen_above_noise`` (checkpoint, eta, layer), whether the breakdown with the
        residuals held is evidence.
    """
    measurements = completed(measurements)
    constants = effective_constant(measurements)
    constant, eta = at_small_eta(constants)
    change = measurements[variables.GRADIENT_CHANGE]
    optional = {}
    if variables.GRADIENT_CHANGE_ERROR in measurements:
        checked = measurements[variables.GRADIENT_CHANGE_ERROR].notnull().any("layer")
        optional["change_error"] = (rounding_share(measurements) * change).where(checked)
    if variables.FROZEN_RESIDUAL_CHANGE in measurements:
        held = measurements[variables.FROZEN_RESIDUAL_CHANGE]
        optional["frozen_above_noise"] = beyond_noise(held, measurements)
    moves = (measurements[variables.PERTURBATION_NORM] > 0).any("eta")
    return xr.Dataset(
        {
            "deep_relative_trust": 10.0 ** log10_trust(measurements),
            "effective_constant": constants,
            "above_noise": above_noise(measurements),
            "constant": constant,
            "constant_eta": eta,
            "constant_breakdown": at_small_eta(change.where(constants.notnull()))[0],
            "moves": moves,
            "largest_constant": constant.where(moves).max("layer"),
            **optional,
        }
    )


def constants_known(measurements: xr.Dataset) -> bool:
    """Whether at every checkpoint every tensor that moves has a C at η → 0, of those whose gradient is measured."""
    measurements = completed(measurements)
    constant, _ = at_small_eta(effective_constant(measurements))
    moves = (measurements[variables.PERTURBATION_NORM] > 0).any("eta")
    change = measurements[variables.GRADIENT_CHANGE]
    wanted = moves & change.notnull().any("eta") & measurements[variables.NOISE_FLOOR].notnull()
    return bool((constant.notnull() | ~wanted).all())


def largest_constant(one: xr.Dataset) -> tuple[float, int | None]:
    """C at η₀ of one checkpoint of a summary, the largest C_l of all that moves, and its layer's place.

    NaN and None where no constant could be measured.
    """
    constants = one["constant"].where(one["moves"]).values
    if np.isnan(constants).all():
        return math.nan, None
    place = int(np.nanargmax(constants))
    return float(constants[place]), place

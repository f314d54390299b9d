"""Whether a grid of η sees the slice: what the fundamental theorem of calculus can be checked with."""

from __future__ import annotations

import numpy as np
import xarray as xr

from trust import measurements as variables
from trust.claims.claim import Measurements
from trust.claims.quantities import perturbed, slope_noise
from trust.claims.remembering import once

__all__ = ["loss_noise", "resolved", "slope_integral"]

_UNCERTAIN = 0.5  # resolved while the integral's uncertainty is at most this share of ∫|slope|
_STRIDE = 3.0  # resolved while no η is more than this many times the one before


@once
def slope_integral(measurements: Measurements) -> Measurements:
    """The slope along the slice, integrated from 0 to each η by the trapezoidal rule.

    Returns:
        ``integral``, its ``uncertainty`` and ``size`` = ∫|slope| (checkpoint, eta), NaN from where a slope is
        missing. In a first step to η₁ the slope can wander by Σ‖d_l‖‖g_l(η₁) − g_l‖ (Cauchy and Schwarz) as
        long as no gradient turns further on the way than at its end. Beyond it, where the slope is monotone
        between neighbouring η, as it is on a fine enough grid, a trapezoid errs by at most ½ Δη |Δslope|. Where it
        turns at one of the two η (goes up before and down after, or down and up) it is not monotone beside it, and
        may go as far past both as the largest of the |Δslope| of this interval and its neighbours: then it errs by
        Δη times that. The ``uncertainty`` is the sum of these.
    """
    eta = measurements[variables.ETA]
    slope = measurements[variables.SLOPE].where(eta > 0, measurements[variables.SLOPE_AT_ZERO]).astype(float)
    before, width = slope.shift(eta=1), eta - eta.shift(eta=1)
    first = eta == perturbed(eta).min()
    jump = slope - before
    jumps = xr.concat([abs(jump.shift(eta=k)).fillna(0.0) for k in (-1, 0, 1)], dim="neighbour")
    turning = jump * jump.shift(eta=-1) < 0
    beside = turning | turning.shift(eta=1, fill_value=False)
    wander = xr.where(beside, jumps.max("neighbour"), abs(jump) / 2)
    with np.errstate(over="ignore", invalid="ignore"):
        turned = (
            measurements[variables.PERTURBATION_NORM] * measurements[variables.GRADIENT_DIFFERENCE]
        ).sum("layer", skipna=False)
        parts = {
            "integral": width * (before + slope) / 2,
            "uncertainty": xr.where(first, turned, width * wander.where(jump.notnull())),
            "size": width * (abs(before) + abs(slope)) / 2,
        }
        found = {name: part.where(eta > 0, 0.0).cumsum("eta", skipna=False) for name, part in parts.items()}
    return xr.Dataset(found).assign_coords(eta=eta)


@once
def resolved(measurements: Measurements) -> xr.DataArray:
    """Whether the grid resolves the slice from 0 to each η (checkpoint, eta); at η = 0 it always does.

    It does where the slope's integral is known to within half of ∫|slope|, until that is lost again,
    something is not finite, or the grid leaps: no η beyond the first may be more than three times the one
    before.
    """
    found = slope_integral(measurements)
    eta = measurements[variables.ETA]
    ratio = eta / eta.shift(eta=1).where(eta.shift(eta=1) > 0)
    finite = (abs(found["integral"]) < np.inf) & (abs(measurements[variables.LOSS]) < np.inf)
    followed = finite & (ratio.isnull() | (ratio <= _STRIDE))
    known = found["uncertainty"] <= _UNCERTAIN * found["size"]
    started = (known & (eta > 0)).cumsum("eta") > 0
    lost = (~followed | (started & ~known)).cumsum("eta") > 0
    return (known & ~lost).assign_coords(eta=eta)


@once
def loss_noise(measurements: Measurements) -> xr.DataArray:
    """How much of 𝓛(η) − 𝓛(0) − η 𝓛'(0) rounding alone can make (checkpoint, eta).

    Rounding of both losses, of the slope, and of the perturbed weights.
    """
    epsilon = measurements.attrs.get("epsilon", 2.0**-52)
    loss = abs(measurements[variables.LOSS])
    losses = (loss + loss.isel(eta=0, drop=True)) * np.maximum(
        measurements[variables.LOSS_NOISE_FLOOR], epsilon
    )
    gradient = measurements[variables.GRADIENT_NORM].isel(eta=0, drop=True)
    weights = epsilon * (gradient * measurements[variables.WEIGHT_NORM]).sum("layer")
    return (
        losses
        + measurements[variables.ETA] * slope_noise(measurements)
        + weights.where(measurements[variables.ETA] > 0, 0.0)
    )

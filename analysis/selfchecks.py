"""What must hold of any correct measurement: Lemma 1, and the slope's integral against the loss.

Both follow from the fundamental theorem of calculus, so a breach means a fault in the measurement, or a grid
too coarse to see the slice. Which of the two is decided beforehand, from the slopes alone
(:func:`trust.claims.resolution.resolved`), never from the size of the breach. What needs no grid is checked at
every η: by the law of cosines ‖g̃ − g‖ follows from ‖g̃‖, ‖g‖ and their angle, and so does the slope along a
gradient slice.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
import xarray as xr

from analysis.completion import completed
from trust import measurements as variables
from trust.claims.gradient import lemma1_bound, linearisation_error
from trust.claims.quantities import perturbed, step_norm
from trust.claims.resolution import loss_noise, resolved, slope_integral

__all__ = ["CheckOutcome", "Outcome", "check_measurements"]

_SHARE = 0.05  # of ∫|slope|: room for a slope that is not monotone between two η
_NOISE = 10.0  # how many times the estimated rounding noise is allowed
_ALGEBRA = 1e-3  # relative; norms and cosines are of the same float32 numbers, so they agree far better


class Outcome(Enum):
    """How a check ended, as a sentence."""

    PASSED = "holds at every eta"
    COARSE = "holds as far as the grid resolves the slice"
    FAILED = "is violated: the measurement has a fault"
    NO_SLICE = "does not apply (no slice: every eta has a perturbation of its own)"
    NOT_MEASURED = "was not measured (needs every layer's gradient: `layers='all'`)"


@dataclass(frozen=True)
class CheckOutcome:
    """One check of one checkpoint.

    Attributes:
        check: ``lemma1`` or ``integral``.
        checkpoint: label.
        outcome: see :class:`Outcome`.
        worst: the largest breach among the η that were checked, relative to what is compared (for
            ``integral`` to ∫|slope|, within its allowance or not; for ``lemma1`` 0 where there is none).
        resolved_to: the largest η up to which the grid resolves the slice (0: not even the first).
    """

    check: str
    checkpoint: str
    outcome: Outcome
    worst: float
    resolved_to: float


def check_measurements(measurements: xr.Dataset) -> list[CheckOutcome]:
    """Both checks for every checkpoint."""
    measurements = completed(measurements)
    found: list[CheckOutcome] = []
    for place in range(measurements.sizes["checkpoint"]):
        one = measurements.isel(checkpoint=[place])
        label = str(one["checkpoint"].values[0])
        if not bool(one[variables.SLOPE].notnull().any()):
            along = one.attrs.get("direction") != "adversarial"
            why = Outcome.NOT_MEASURED if along else Outcome.NO_SLICE
            found += [CheckOutcome(c, label, why, np.nan, 0.0) for c in ("lemma1", "integral")]
        else:
            found += [_lemma1(one, label), _integral(one, label)]
    return found


def _integral(one: xr.Dataset, label: str) -> CheckOutcome:
    """𝓛(η) − 𝓛(0) against the slope's integral, which is known to within its uncertainty."""
    slopes = slope_integral(one)
    gap = abs(slopes["integral"] - (one[variables.LOSS] - one[variables.LOSS].isel(eta=0, drop=True)))
    noise = _NOISE * loss_noise(one)
    allowed = slopes["uncertainty"] + _SHARE * slopes["size"] + noise
    seen = resolved(one)
    relative = ((gap - noise).clip(min=0.0) / slopes["size"].where(slopes["size"] > 0)).fillna(0.0)
    return _outcome("integral", label, (gap > allowed) & seen, ~seen, relative.where(seen, 0.0), seen)


def _lemma1(one: xr.Dataset, label: str) -> CheckOutcome:
    """The loss above its tangent against Σ‖ΔW_l‖ times the worst gradient change so far; and the algebra."""
    error, bound = linearisation_error(one), lemma1_bound(one)
    excess = error - bound - _NOISE * loss_noise(one)
    seen = resolved(one)
    lemma = (excess / bound.where(bound > 0)).where(seen).clip(min=0.0).fillna(0.0)
    algebra = xr.concat([_cosine_breach(one), _slope_breach(one)], dim="kind").max("kind").fillna(0.0)
    unknown = (excess > 0) & ~seen | ~np.isfinite(error) | bound.isnull()
    failed = (lemma > _ALGEBRA) | (algebra > 0)
    return _outcome("lemma1", label, failed, unknown, lemma.clip(min=algebra), seen)


def _cosine_breach(one: xr.Dataset) -> xr.DataArray:
    """‖g̃ − g‖² = ‖g̃‖² + ‖g‖² − 2‖g̃‖‖g‖cos, layer by layer, relative to the right side's terms (eta)."""
    after = one[variables.GRADIENT_NORM].astype(float)
    before = after.isel(eta=0, drop=True)
    product = (after * before).where((after * before) > 0, 0.0)
    cosine = one[variables.GRADIENT_COSINE].where(product > 0, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        implied = after**2 + before**2 - 2 * product * cosine
        size = after**2 + before**2
        breach = abs(one[variables.GRADIENT_DIFFERENCE] ** 2 - implied) / size.where(size > 0)
    # near η = 0 the difference is far below both norms, and its square rounds with theirs
    rounding = 100 * one.attrs.get("epsilon", 2.0**-52)
    allowed = (_ALGEBRA * implied / size.where(size > 0)).clip(min=rounding)
    return breach.where(breach > allowed, 0.0).where(np.isfinite(breach)).max("layer")


def _slope_breach(one: xr.Dataset) -> xr.DataArray:
    """The slope Σ⟨g̃_l, d_l⟩ against what the angles allow, relative to Σ‖g̃_l‖‖d_l‖ (eta).

    With θ the angle from d to −g and ψ that from g̃ to g, ⟨g̃, d⟩ lies within ‖g̃‖‖d‖ sin θ sin ψ of
    −‖g̃‖‖d‖ cos θ cos ψ: along a gradient slice θ = 0 and the slope is given by norms and cosines alone.
    """
    theta, psi = one[variables.PERTURBATION_COSINE], one[variables.GRADIENT_COSINE]
    size = one[variables.GRADIENT_NORM] * step_norm(one)
    known = theta.notnull() & psi.notnull()
    middle = (-size * theta * psi).where(known, 0.0)
    spread = size * ((1 - theta**2).clip(min=0.0) * (1 - psi**2).clip(min=0.0)) ** 0.5
    spread = spread.where(known, size)
    gap = abs(one[variables.SLOPE] - middle.sum("layer", skipna=False)) - spread.sum("layer", skipna=False)
    total = size.sum("layer", skipna=False)
    breach = gap / total.where(total > 0)
    return perturbed(breach.where((breach > _ALGEBRA) & np.isfinite(breach), 0.0)).reindex_like(
        one[variables.ETA]
    )


def _outcome(
    check: str,
    label: str,
    failed: xr.DataArray,
    unknown: xr.DataArray,
    breach: xr.DataArray,
    seen: xr.DataArray,
) -> CheckOutcome:
    worst = float(breach.max())
    resolved_to = float(seen[variables.ETA].where(seen).max(skipna=True).fillna(0.0))
    outcome = Outcome.COARSE if bool(unknown.any()) else Outcome.PASSED
    if bool(failed.any()):
        outcome = Outcome.FAILED
    return CheckOutcome(check, label, outcome, worst, resolved_to)

"""What must hold of any correct measurement, each check under a name of its own.

Lemma 1 and the slope's integral follow from the fundamental theorem of calculus, so a breach means a fault in the
measurement, or a grid too coarse to see the slice. Which of the two is decided beforehand, from the slopes alone
(:func:`trust.claims.resolution.resolved`), never from the size of the breach. What needs no grid is checked at
every η: by the law of cosines ‖g̃ − g‖ follows from ‖g̃‖, ‖g‖ and their angle, and so does the slope along a
gradient slice. A breach there is always a fault.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
import xarray as xr

from analysis.completion import completed
from trust import measurements as variables
from trust.claims.gradient import lemma1_bound, linearisation_error
from trust.claims.quantities import perturbed, step_norm
from trust.claims.resolution import loss_noise, resolved, slope_integral

__all__ = ["CHECKS", "CheckOutcome", "Outcome", "check_measurements"]

CHECKS = {
    "lemma1": "Lemma 1",
    "integral": "integral of the slope = change of the loss",
    "cosines": "law of cosines of each gradient and its change",
    "slopes": "slope = what gradients' norms and angles give",
}
"""Each check's name in words."""

_SHARE = 0.05  # of ∫|slope|: room for a slope that is not monotone between two η
_NOISE = 10.0  # how many times the estimated rounding noise is allowed
_ALGEBRA = 1e-3  # relative: what no rounding of a norm or an angle comes near to
_ROUNDING = 2.0**-53  # of sums in float64
_TINY = 1e-280  # squares near the smallest number are known to few digits


class Outcome(Enum):
    """How a check ended, as a sentence."""

    PASSED = "holds at every eta"
    COARSE = "holds as far as the grid resolves the slice"
    FINITE = "holds wherever the numbers are finite"
    FAILED = "is violated"
    NO_SLICE = "does not apply (no slice: every eta has a perturbation of its own)"
    NOT_MEASURED = "was not measured (needs every layer's gradient: `layers='all'`)"


@dataclass(frozen=True)
class CheckOutcome:
    """One check of one checkpoint.

    Attributes:
        check: a name of :data:`CHECKS`.
        checkpoint: label.
        outcome: see :class:`Outcome`.
        worst: the largest breach among the η that were checked, relative to what is compared (for
            ``integral`` to ∫|slope|, within its allowance or not; for the others 0 where there is none).
        resolved_to: the largest η up to which the grid resolves the slice (0: not even the first); of a check
            that needs no grid the largest η.
    """

    check: str
    checkpoint: str
    outcome: Outcome
    worst: float
    resolved_to: float


def check_measurements(measurements: xr.Dataset) -> list[CheckOutcome]:
    """All checks for every checkpoint, checkpoint by checkpoint."""
    measurements = completed(measurements)
    labels = [str(label) for label in measurements["checkpoint"].values]
    measured = measurements[variables.SLOPE].notnull().any("eta").values
    along = measurements.attrs.get("direction") not in variables.WITHOUT_LINE
    why = Outcome.NOT_MEASURED if along else Outcome.NO_SLICE
    unmeasured = {
        check: [CheckOutcome(check, label, why, np.nan, 0.0) for label in labels] for check in CHECKS
    }
    if not measured.any():
        return [one for column in zip(*unmeasured.values(), strict=True) for one in column]
    found = {
        "lemma1": _lemma1(measurements),
        "integral": _integral(measurements),
        "cosines": _algebra("cosines", _cosine_breach(measurements)),
        "slopes": _algebra("slopes", _slope_breach(measurements)),
    }
    return [
        (found if known else unmeasured)[check][place]
        for place, known in enumerate(measured)
        for check in CHECKS
    ]


def _integral(measurements: xr.Dataset) -> list[CheckOutcome]:
    """𝓛(η) − 𝓛(0) against the slope's integral, which is known to within its uncertainty."""
    slopes, loss = slope_integral(measurements), measurements[variables.LOSS]
    gap = abs(slopes["integral"] - (loss - loss.isel(eta=0, drop=True)))
    noise = _NOISE * loss_noise(measurements)
    allowed = slopes["uncertainty"] + _SHARE * slopes["size"] + noise
    seen = resolved(measurements)
    relative = ((gap - noise).clip(min=0.0) / slopes["size"].where(slopes["size"] > 0)).fillna(0.0)
    return _outcomes("integral", (gap > allowed) & seen, ~seen, relative.where(seen, 0.0), seen)


def _lemma1(measurements: xr.Dataset) -> list[CheckOutcome]:
    """The loss above its tangent against Σ‖ΔW_l‖ times the worst gradient change so far."""
    error, bound = linearisation_error(measurements), lemma1_bound(measurements)
    excess = error - bound - _NOISE * loss_noise(measurements)
    seen = resolved(measurements)
    lemma = (excess / bound.where(bound > 0)).where(seen).clip(min=0.0).fillna(0.0)
    unknown = (excess > 0) & ~seen | ~np.isfinite(error) | bound.isnull()
    return _outcomes("lemma1", lemma > _ALGEBRA, unknown, lemma, seen)


def _algebra(check: str, breach: xr.DataArray) -> list[CheckOutcome]:
    """A check that needs no grid: nothing is left unknown but where numbers overflowed."""
    known = breach.notnull()
    found = _outcomes(check, breach > 0, ~known, breach.fillna(0.0), known)
    return [replace(one, outcome=Outcome.FINITE) if one.outcome is Outcome.COARSE else one for one in found]


def _cosine_breach(measurements: xr.Dataset) -> xr.DataArray:
    """‖g̃ − g‖² = ‖g̃‖² + ‖g‖² − 2‖g̃‖‖g‖cos, layer by layer, relative to ‖g̃‖² + ‖g‖² (checkpoint, eta).

    0 where it holds within its tolerance, NaN where something overflowed.
    """
    after, difference = (
        measurements[variables.GRADIENT_NORM].astype(float),
        measurements[variables.GRADIENT_DIFFERENCE],
    )
    change = measurements[variables.GRADIENT_CHANGE]
    # of the very gradient that g̃ was compared with: the norm at η = 0 is of its second evaluation
    start = after.isel(eta=0, drop=True)
    before = (difference / change.where((change > 0) & (change < np.inf))).fillna(start)
    before = before.where(change != 0, after)
    product = (after * before).where((after * before) > 0, 0.0)
    cosine = measurements[variables.GRADIENT_COSINE].where(product > 0, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        implied = after**2 + before**2 - 2 * product * cosine
        size = after**2 + before**2
        breach = abs(difference**2 - implied) / size.where(size > _TINY)
    # Each of the squares and the product is a sum of n products in float64, whichever precision the gradients have:
    # by the bound on a sum's rounding it errs by at most (n + 4)u times what it would be without signs, ‖g̃‖², ‖g‖²,
    # ‖g̃‖‖g‖ and ‖g̃ − g‖² ≤ 2(‖g̃‖² + ‖g‖²); together, with the factor 2 of the product, 4(‖g̃‖² + ‖g‖²).
    rounding = 4 * (_entries(measurements) + 4) * _ROUNDING
    allowed = _ALGEBRA * implied.clip(min=0.0) / size.where(size > _TINY) + rounding
    # a gradient of size 0, or one that is not measured at all, has no angle to check
    unknown = start.notnull() & ~np.isfinite(breach) & ~(size <= _TINY)
    return breach.where(breach > allowed, 0.0).where(~unknown).max("layer", skipna=False)


def _entries(measurements: xr.Dataset) -> xr.DataArray:
    """How many numbers each tensor has (layer); one that is no weight matrix at most as many as the largest has."""
    count = measurements[variables.ROWS] * measurements[variables.COLUMNS]
    return count.where(count > 0, count.max()).astype(float)


def _slope_breach(measurements: xr.Dataset) -> xr.DataArray:
    """The slope Σ⟨g̃_l, d_l⟩ against what the angles allow, relative to Σ‖g̃_l‖‖d_l‖ (checkpoint, eta).

    With θ the angle from d to −g and ψ that from g̃ to g, ⟨g̃, d⟩ lies within ‖g̃‖‖d‖ sin θ sin ψ of
    −‖g̃‖‖d‖ cos θ cos ψ: along a gradient slice θ = 0 and the slope is given by norms and cosines alone.
    """
    theta, psi = measurements[variables.PERTURBATION_COSINE], measurements[variables.GRADIENT_COSINE]
    gradient, step = measurements[variables.GRADIENT_NORM], step_norm(measurements)
    size = (gradient * step).where(step > 0, 0.0)
    known = theta.notnull() & psi.notnull()
    middle = (-size * theta * psi).where(known, 0.0)
    spread = size * ((1 - theta**2).clip(min=0.0) * (1 - psi**2).clip(min=0.0)) ** 0.5
    spread = spread.where(known, size)
    gap = abs(measurements[variables.SLOPE] - middle.sum("layer", skipna=False)) - spread.sum(
        "layer", skipna=False
    )
    total = size.sum("layer", skipna=False)
    # ‖d‖ is read off the stored W + ηd at the largest η, each of whose entries is rounded by ε/2 of itself: that is
    # at most ε/2 ‖W + ηd‖ ≤ ε (‖W‖ + η‖d‖) on η‖d‖
    furthest = float(measurements[variables.ETA].max())
    rounded = measurements.attrs.get("epsilon", 2.0**-52) * (
        measurements[variables.WEIGHT_NORM] / furthest + step
    )
    allowed = _ALGEBRA * total + (gradient * rounded.where(step > 0, 0.0)).sum("layer")
    breach = (gap / total.where(total > 0)).where(gap > allowed, 0.0)
    return perturbed(breach.where(np.isfinite(gap)))


def _outcomes(
    check: str, failed: xr.DataArray, unknown: xr.DataArray, breach: xr.DataArray, seen: xr.DataArray
) -> list[CheckOutcome]:
    """One a checkpoint, of what is known at each η (checkpoint, eta)."""
    columns = [array.transpose("checkpoint", "eta").values for array in (failed, unknown, breach, seen)]
    etas, found = seen[variables.ETA].values, []
    for label, *row in zip(seen["checkpoint"].values, *columns, strict=True):
        wrong, doubtful, gaps, known = row
        outcome = Outcome.FAILED if wrong.any() else Outcome.COARSE if doubtful.any() else Outcome.PASSED
        reached = float(etas[known].max(initial=0.0))
        found.append(CheckOutcome(check, str(label), outcome, float(gaps.max()), reached))
    return found

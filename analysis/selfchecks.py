"""What must hold of any correct measurement: Lemma 1, and the slope's integral against the loss.

Both follow from the fundamental theorem of calculus, so a breach means a bug or a grid too coarse to see the slice.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.integrate import cumulative_simpson, cumulative_trapezoid

from trust.claims._quantities import log10
from trust.claims.gradient import LEMMA1, loss_noise

__all__ = ["CheckOutcome", "Outcome", "check_measurements"]

_AGREE = 0.05  # an integral within 5 % of the loss's own change (or within its own error estimate) is no breach
_SAFETY = 10.0  # how far beyond its own error estimate a quadrature may err before the measurement is blamed


class Outcome(Enum):
    """How a check ended, as a sentence."""

    PASSED = "holds at every eta"
    COARSE = "holds as far as the grid resolves the slice"
    FAILED = "is violated: the measurement has a fault"
    NOT_MEASURED = "was not measured (needs every layer's gradient: --layers all)"


@dataclass(frozen=True)
class CheckOutcome:
    """One check of one checkpoint.

    Attributes:
        check: ``lemma1`` or ``integral``.
        checkpoint: label.
        outcome: see :class:`Outcome`.
        worst: the largest relative breach among the resolved η (0 where there is none).
        resolved_to: the largest η up to which the grid resolves the slice (0: not even the first).
    """

    check: str
    checkpoint: str
    outcome: Outcome
    worst: float
    resolved_to: float


def check_measurements(measurements: xr.Dataset) -> list[CheckOutcome]:
    """Both checks for every checkpoint."""
    found: list[CheckOutcome] = []
    for place in range(measurements.sizes["checkpoint"]):
        one = measurements.isel(checkpoint=[place])
        label = str(one["checkpoint"].values[0])
        if not bool(one["slope"].notnull().any()):
            found += [CheckOutcome(name, label, Outcome.NOT_MEASURED, np.nan, 0.0) for name in ("lemma1", "integral")]
            continue
        integral, resolved = _integral(one, label)
        found += [_lemma1(one, label, resolved), integral]
    return found


def _integral(one: xr.Dataset, label: str) -> tuple[CheckOutcome, npt.NDArray[np.bool_]]:
    """𝓛(η) − 𝓛(0) against Simpson's rule for the slope, whose error the trapezoidal rule estimates.

    Returns:
        The outcome, and for each η whether the grid resolves the slice up to there.
    """
    etas = one["eta"].values
    slope = one["slope"].values[0].copy()
    slope[0] = one["slope_at_zero"].values[0]
    change = one["loss"].values[0] - one["loss"].values[0, 0]
    noise = 10 * loss_noise(one).values[0]
    finite = np.cumprod(np.isfinite(slope) & np.isfinite(change)).astype(bool)
    known = int(finite.sum())
    resolved = np.zeros(etas.size, dtype=bool)
    if known < 3:
        return CheckOutcome("integral", label, Outcome.COARSE, 0.0, 0.0), resolved
    with np.errstate(over="ignore", invalid="ignore"):
        fine = cumulative_simpson(slope[:known], x=etas[:known], initial=0.0)
        rough = cumulative_trapezoid(slope[:known], etas[:known], initial=0.0)
        sizes = cumulative_trapezoid(abs(slope[:known]), etas[:known], initial=0.0)
    estimate = abs(fine - rough)
    gap = abs(fine - change[:known])
    good = np.cumprod(estimate <= _AGREE * sizes).astype(bool)
    resolved[:known] = good
    allowed = np.maximum(_AGREE * sizes, _SAFETY * estimate) + noise[:known]
    breach = np.where(good, gap / np.maximum(allowed, 1e-300), 0.0)
    worst = float(np.max(breach[1:], initial=0.0))
    if worst > 1:
        outcome = Outcome.FAILED
    else:
        outcome = Outcome.PASSED if bool(good.all()) and known == etas.size else Outcome.COARSE
    relative = float(np.max(np.where(good, gap / np.maximum(sizes, 1e-300), 0.0)[1:], initial=0.0))
    return CheckOutcome("integral", label, outcome, relative, float(etas[:known][good].max(initial=0.0))), resolved


def _lemma1(one: xr.Dataset, label: str, resolved: npt.NDArray[np.bool_]) -> CheckOutcome:
    """The loss above its tangent against Σ‖ΔW_l‖ times the worst gradient change on the grid."""
    etas = one["eta"].values[1:]
    ratio = (LEMMA1.measured(one) - LEMMA1.bound(one)).values[0]
    slack = log10(loss_noise(one)).values[0, 1:]
    violated = (ratio > 1e-9) & (LEMMA1.bound(one).values[0] > slack)
    inside = resolved[1:]
    resolved_to = float(etas[inside].max(initial=0.0))
    worst = float(np.max(10.0 ** ratio[violated & inside] - 1, initial=0.0))
    if bool((violated & inside).any()):
        return CheckOutcome("lemma1", label, Outcome.FAILED, worst, resolved_to)
    everywhere = not bool(violated.any()) and bool(np.isfinite(one["loss"].values).all())
    return CheckOutcome("lemma1", label, Outcome.PASSED if everywhere else Outcome.COARSE, worst, resolved_to)

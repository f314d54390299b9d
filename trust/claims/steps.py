"""Step-size limits: each claims that the loss is below its start for every η up to the limit."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from trust import measurements as variables
from trust.claims.claim import Claim, Measurements, Premise, Quantity
from trust.claims.forms import descent as forms
from trust.claims.premises import DESCENT, STEP_SIZE
from trust.claims.quantities import (
    constant_at_small_eta,
    cos_theta,
    depth,
    effective_constant,
    log10,
    perturbed,
    slope_noise,
    smallest_evident,
)
from trust.claims.theorem1 import FUNCTION
from trust.descent import curvature_step_limit, log10_lemma2_step_limit

__all__ = [
    "CALIBRATED",
    "LEMMA2",
    "SLICE_CURVATURE",
    "TRUSTED",
    "WITH_CONSTANT",
    "calibrated_limit",
    "curvature_limit",
    "lemma2_limit",
    "slice_curvature",
]

_PAPER = "Bernstein, Vahdat, Yue and Liu, NeurIPS 2020"
_SAFE = "𝓛(η) < 𝓛(0) for every 0 < η <"
_MEND = "no layer's gradient breaks down faster than deep relative trust says, anywhere on the step"
_SEARCH = 4e-3  # twice the relative accuracy to which the measured limit is searched


def _limit(measurements: Measurements, log10_constant: xr.DataArray | float) -> xr.DataArray:
    """log10 of (1 + cos θ / C)^(1/L) − 1 (checkpoint); NaN where C or θ is not known."""
    cosine = cos_theta(measurements)
    constant = xr.zeros_like(cosine) + log10_constant  # NaN stays NaN
    known = cosine.notnull() & constant.notnull()
    count = depth(measurements)
    found = xr.apply_ufunc(
        lambda c, k: log10_lemma2_step_limit(depth=count, cos_theta=c, log10_constant=k),
        cosine.fillna(1.0),
        constant.fillna(0.0),
    )
    return found.where(known)


def lemma2_limit(measurements: Measurements) -> xr.DataArray:
    """log10 of Lemma 2's limit (checkpoint)."""
    return _limit(measurements, 0.0)


def calibrated_limit(measurements: Measurements) -> xr.DataArray:
    """log10 of Lemma 2's limit with C = max_l C_l at small η (checkpoint)."""
    return _limit(measurements, log10(constant_at_small_eta(measurements)))


def slice_curvature(measurements: Measurements) -> xr.DataArray:
    """𝓛'' along the slice as a difference of slopes, at the smallest η where that is 100 times its noise.

    Unlike the Hessian it sees the kinks of ReLU that the examples cross on the way.
    """
    return _difference_of_slopes(measurements)[0]


def _difference_of_slopes(measurements: Measurements) -> tuple[xr.DataArray, xr.DataArray]:
    """The slice curvature, and the η that it was read off."""
    rise = measurements[variables.SLOPE] - measurements[variables.SLOPE_AT_ZERO]
    noise = slope_noise(measurements)
    evident = (measurements[variables.ETA] > 0) & (abs(rise) >= 100 * noise) & np.isfinite(rise)
    return smallest_evident(
        (rise / measurements[variables.ETA].where(measurements[variables.ETA] > 0)).where(evident)
    )


def curvature_limit(measurements: Measurements) -> xr.DataArray:
    """log10 of 2|𝓛'(0)|/𝓛'' along the slice (checkpoint); NaN where the slopes were not measured."""
    curvature = slice_curvature(measurements)
    slope = measurements[variables.SLOPE_AT_ZERO]
    known = curvature.notnull() & slope.notnull()
    found = xr.apply_ufunc(
        lambda s, c: curvature_step_limit(slope=s, curvature=c), slope.fillna(-1.0), curvature.fillna(1.0)
    )
    return log10(found).where(known)


def _measured_limit(claimed: xr.DataArray, measurements: Measurements) -> xr.DataArray:
    """log10 of the measured limit, or of how far was searched where the loss had not returned by then.

    The latter only where the search went as far as claimed (else NaN: it cannot tell); +inf where the claimed
    limit is 0, which claims nothing.
    """
    searched = log10(measurements[variables.STEP_LIMIT_SEARCHED_TO])
    limit = log10(measurements[variables.STEP_LIMIT]).fillna(searched.where(claimed <= searched))
    return limit.where(~np.isneginf(claimed), np.inf)


def _no_faster(
    measurements: Measurements, limit: xr.DataArray, constant: xr.DataArray | float
) -> xr.DataArray:
    """Whether every moving tensor's breakdown is measured at or below C·D(r) up to a limit (its log10).

    Below the noise it is at or below C·D as far as can be told. NaN where a moving layer was not measured at
    some η inside, or no η lies inside.
    """
    own = perturbed(measurements)
    inside = own[variables.ETA] <= 10.0**limit
    moves = own[variables.PERTURBATION_NORM] > 0
    excess = effective_constant(own) > constant * (1 + 1e-6)
    exceeds = (inside & moves & (excess | np.isinf(own[variables.GRADIENT_CHANGE]))).any(["eta", "layer"])
    unseen = (inside & moves & own[variables.GRADIENT_CHANGE].isnull()).any(["eta", "layer"])
    seen = (inside & effective_constant(own).notnull().any("layer")).any("eta") & ~unseen & limit.notnull()
    return (~exceeds).astype(float).where(exceeds | seen)


def _small_step(measurements: Measurements) -> xr.DataArray:
    """Whether the curvature was read off while the loss was still falling (checkpoint)."""
    eta = _difference_of_slopes(measurements)[1]
    falling = log10(2 * eta) < curvature_limit(measurements)
    return falling.astype(float).where(eta.notnull())


NO_FASTER = Premise(
    "no faster than C·D",
    "every moving tensor's breakdown is at most C·D(r) up to the limit",
    lambda measurements: _no_faster(
        measurements, calibrated_limit(measurements), constant_at_small_eta(measurements)
    ),
    (variables.GRADIENT_CHANGE, variables.PERTURBATION_NORM),
    "smaller η (--etas) and --layers all",
)
NO_FASTER_THAN_MODEL = Premise(
    "no faster than D",
    "every moving tensor's breakdown is at most D(r) up to the limit",
    lambda measurements: _no_faster(measurements, lemma2_limit(measurements), 1.0),
    (variables.GRADIENT_CHANGE, variables.PERTURBATION_NORM),
    "smaller η (--etas) and --layers all",
)
SMALL_STEP = Premise(
    "small step",
    "the slopes are compared at an η below half the limit, where the loss still falls",
    _small_step,
    (variables.SLOPE,),
    "--layers all",
)


def _claim(
    id: str,
    source: str,
    limit: str,
    claimed: Quantity,
    premises: tuple[Premise, ...],
    number: int,
    *,
    needs: tuple[str, ...] = (),
    log10_constant: Quantity | None = None,
    **more: Any,
) -> Claim:
    return Claim(
        id=id,
        source=source,
        statement=f"{_SAFE} {limit}",
        left="the claimed limit, against the measured one",
        measured=claimed,
        bound=lambda measurements: _measured_limit(claimed(measurements), measurements),
        premises=premises,
        needs=(variables.STEP_LIMIT, variables.STEP_LIMIT_SEARCHED_TO, variables.PERTURBATION_COSINE, *needs),
        add="the search for the step limit (leave out --no-limit)",
        log10_constant=log10_constant,
        log10_allowance=lambda measurements: xr.full_like(
            measurements[variables.STEP_LIMIT], np.log10(1 + _SEARCH)
        ),
        number=number,
        subject="step",
        **more,
    )


def _theorem1_constant(measurements: Measurements) -> xr.DataArray:
    assert FUNCTION.log10_constant is not None
    return FUNCTION.log10_constant(measurements)


LEMMA2 = _claim(
    "lemma2",
    f"{_PAPER}, Lemma 2",
    "(1 + cos θ)^(1/L) − 1",
    lemma2_limit,
    (DESCENT, STEP_SIZE),
    50,
    form=forms.LEMMA2_FORM,
    mended_by="lemma2-trusted",
    mend=_MEND,
)

TRUSTED = _claim(
    "lemma2-trusted",
    "this toolkit: Lemma 2 with its modelling assumption as a premise",
    "(1 + cos θ)^(1/L) − 1, where no layer's breakdown exceeds D(r) on the way",
    lemma2_limit,
    (DESCENT, STEP_SIZE, NO_FASTER_THAN_MODEL),
    51,
    needs=(variables.GRADIENT_CHANGE,),
    proved=True,
    form=forms.LEMMA2_TRUSTED_FORM,
)

WITH_CONSTANT = _claim(
    "lemma2-with-constant",
    "NeurIPS 2020 reviews of the paper, review 2: Lemma 2 with Theorem 1's constant",
    "(1 + cos θ / C)^(1/L) − 1 with C = (βκ²/α)^L",
    lambda measurements: _limit(measurements, _theorem1_constant(measurements)),
    (DESCENT, STEP_SIZE),
    52,
    log10_constant=_theorem1_constant,
    form=forms.WITH_CONSTANT_FORM,
    mended_by="lemma2-trusted",
    mend=_MEND,
)

CALIBRATED = _claim(
    "lemma2-calibrated",
    "this toolkit: Lemma 2 with the constant that was measured",
    "(1 + cos θ / C)^(1/L) − 1 with C = max_l C_l at small η",
    calibrated_limit,
    (DESCENT, STEP_SIZE, NO_FASTER),
    53,
    needs=(variables.GRADIENT_CHANGE,),
    log10_constant=lambda measurements: log10(constant_at_small_eta(measurements)),
)

SLICE_CURVATURE = _claim(
    "slice-curvature",
    "this toolkit: the edge of stability 2/λ along the slice",
    "2|𝓛'(0)| / 𝓛'' along the slice",
    curvature_limit,
    (DESCENT, SMALL_STEP),
    60,
    needs=(variables.SLOPE,),
    form=forms.CURVATURE_FORM,
    mend="the loss is quadratic along the step; otherwise it is an estimate, not a bound",
)

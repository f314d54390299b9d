"""Step-size limits: each says that the loss is below its start for every η up to the limit.

Lemma 2 is a lemma under its premise, deep relative trust along the whole step. Without the premise, and with another
constant in its place, its limit is a rule. The slice's curvature is an estimate.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from trust import measurements as variables
from trust.claims.claim import Claim, Kind, Measurements, Premise, Quantity
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
from trust.claims.remembering import once
from trust.claims.theorem1 import FUNCTION
from trust.descent import curvature_step_limit, log10_lemma2_step_limit

__all__ = [
    "CALIBRATED",
    "LEMMA2",
    "LEMMA2_LIMIT",
    "SLICE_CURVATURE",
    "WITH_CONSTANT",
    "calibrated_limit",
    "curvature_limit",
    "lemma2_limit",
    "slice_curvature",
]

_PAPER = "Bernstein, Vahdat, Yue and Liu, NeurIPS 2020"
_SAFE = "𝓛(η) < 𝓛(0) for every 0 < η <"
_SAFE_FORMULA = r"\mathcal{L}(\eta) < \mathcal{L}(0) \text{ for every } 0 < \eta <"
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


@once
def lemma2_limit(measurements: Measurements) -> xr.DataArray:
    """log10 of Lemma 2's limit (checkpoint)."""
    return _limit(measurements, 0.0)


@once
def calibrated_limit(measurements: Measurements) -> xr.DataArray:
    """log10 of Lemma 2's limit with C = max_l C_l at small η (checkpoint)."""
    return _limit(measurements, log10(constant_at_small_eta(measurements)))


@once
def slice_curvature(measurements: Measurements) -> xr.DataArray:
    """𝓛'' along the slice (checkpoint): exact, dᵀHd, where that was measured, else a difference of slopes.

    The exact one is blind to the kinks of ReLU that examples cross on the way, the difference of slopes is not.
    """
    return _exact_curvature(measurements).fillna(_difference_of_slopes(measurements)[0])


def _exact_curvature(measurements: Measurements) -> xr.DataArray:
    """The Hessian's (checkpoint), NaN where it was not measured."""
    if variables.CURVATURE in measurements:
        return measurements[variables.CURVATURE]
    return xr.full_like(measurements[variables.SLOPE_AT_ZERO], np.nan)


@once
def _difference_of_slopes(measurements: Measurements) -> tuple[xr.DataArray, xr.DataArray]:
    """𝓛'' by the slope at the smallest η where it is 100 times its noise, and that η."""
    rise = measurements[variables.SLOPE] - measurements[variables.SLOPE_AT_ZERO]
    noise = slope_noise(measurements)
    evident = (measurements[variables.ETA] > 0) & (abs(rise) >= 100 * noise) & np.isfinite(rise)
    return smallest_evident(
        (rise / measurements[variables.ETA].where(measurements[variables.ETA] > 0)).where(evident)
    )


@once
def curvature_limit(measurements: Measurements) -> xr.DataArray:
    """log10 of 2|𝓛'(0)|/𝓛'' along the slice (checkpoint), 𝓛'' of :func:`slice_curvature`.

    −∞ where the loss rises at once. NaN where neither curvature nor slopes were measured, and where 𝓛'' ≤ 0: then it
    says nothing.
    """
    curvature = slice_curvature(measurements)
    slope = measurements[variables.SLOPE_AT_ZERO]
    known = (curvature > 0) & slope.notnull()
    found = xr.apply_ufunc(
        lambda s, c: curvature_step_limit(slope=s, curvature=c),
        slope.where(known, -1.0),
        curvature.where(known, 1.0),
    )
    return log10(found).where(known)


@once
def _calibrated(measurements: Measurements) -> xr.DataArray:
    """The calibrated limit; NaN unless the breakdown was seen at two η inside it that C was not read from."""
    limit = calibrated_limit(measurements)
    constants = effective_constant(measurements)
    read = smallest_evident(constants)[1]
    inside = constants.notnull().where(measurements[variables.ETA] > read, False).any("layer")
    inside = inside & (measurements[variables.ETA] <= 10.0**limit)
    return limit.where((inside.sum("eta") >= 2) | np.isneginf(limit))


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
    constants = effective_constant(own)
    exceeds = (
        inside & moves & ((constants > constant * (1 + 1e-6)) | np.isinf(own[variables.GRADIENT_CHANGE]))
    ).any(["eta", "layer"])
    unseen = (inside & moves & own[variables.GRADIENT_CHANGE].isnull()).any(["eta", "layer"])
    seen = (inside & constants.notnull().any("layer")).any("eta") & ~unseen & limit.notnull()
    return (~exceeds).astype(float).where(exceeds | seen)


def _small_step(measurements: Measurements) -> xr.DataArray:
    """Whether the curvature is that at η = 0, or was read off while the loss was still falling (checkpoint)."""
    eta, limit = _difference_of_slopes(measurements)[1], curvature_limit(measurements)
    falling = (log10(2 * eta) < limit).astype(float).where(eta.notnull())
    return falling.where(_exact_curvature(measurements).isnull(), 1.0).where(limit.notnull())


NO_FASTER = Premise(
    "no faster than C·D",
    "every moving tensor's breakdown is at most C·D(r) up to the limit",
    lambda measurements: _no_faster(
        measurements, _calibrated(measurements), constant_at_small_eta(measurements)
    ),
    (variables.GRADIENT_CHANGE, variables.PERTURBATION_NORM),
    "smaller η (`etas`) and `layers='all'`",
    gates=False,
)
TRUSTED = Premise(
    "no faster than D",
    "every moving tensor's breakdown is at most D(r) up to the limit",
    lambda measurements: _no_faster(measurements, lemma2_limit(measurements), 1.0),
    (variables.GRADIENT_CHANGE, variables.PERTURBATION_NORM),
    "smaller η (`etas`) and `layers='all'`",
)
SMALL_STEP = Premise(
    "small step",
    "the curvature is that at η = 0, or of slopes compared below half the limit, where the loss still falls",
    _small_step,
    (variables.SLOPE,),
    "`layers='all'`",
)


def _claim(
    id: str,
    source: str,
    limit: str,
    formula: str,
    claimed: Quantity,
    premises: tuple[Premise, ...],
    number: int,
    *,
    kind: Kind,
    needs: tuple[str, ...] = (),
    evidence: str = "",
    **more: Any,
) -> Claim:
    return Claim(
        id=id,
        source=source,
        statement=f"{_SAFE} {limit}",
        formula=f"{_SAFE_FORMULA} {formula}",
        left="the claimed limit, against the measured one",
        measured=claimed,
        bound=lambda measurements: _measured_limit(claimed(measurements), measurements),
        kind=kind,
        premises=premises,
        needs=(variables.STEP_LIMIT, variables.STEP_LIMIT_SEARCHED_TO, variables.PERTURBATION_COSINE, *needs),
        add="the search for the step limit (leave out `limit=False`)",
        evidence=evidence,
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
    f"{_PAPER}, Lemma 2 under its premise, modelling assumption 1",
    "(1 + cos θ)^(1/L) − 1, where no layer's breakdown exceeds ∏(1 + r_k) − 1 on the way",
    r"(1 + \cos\theta)^{1/L} - 1, \\"
    r" \text{where no layer's breakdown exceeds } \prod (1 + r_k) - 1 \text{ on the way}",
    lemma2_limit,
    (DESCENT, STEP_SIZE, TRUSTED),
    50,
    kind=Kind.LEMMA,
    needs=(variables.GRADIENT_CHANGE,),
    proved=True,
    form=forms.LEMMA2_FORM,
)

LEMMA2_LIMIT = _claim(
    "lemma2-limit",
    "those who use Lemma 2's limit without its premise",
    "(1 + cos θ)^(1/L) − 1",
    r"(1 + \cos\theta)^{1/L} - 1",
    lemma2_limit,
    (DESCENT, STEP_SIZE, replace(TRUSTED, gates=False)),
    51,
    kind=Kind.RULE,
    form=forms.LEMMA2_LIMIT_FORM,
    mended_by="lemma2",
    mend=_MEND,
)

WITH_CONSTANT = _claim(
    "lemma2-with-constant",
    "NeurIPS 2020 reviews of the paper, review 2: Lemma 2 with Theorem 1's constant",
    "(1 + cos θ / C)^(1/L) − 1 with C = (βκ²/α)^L",
    r"\left(1 + \frac{\cos\theta}{C}\right)^{1/L} - 1 \text{ with } C = \left(\frac{\beta \kappa^2}{\alpha}\right)^L",
    lambda measurements: _limit(measurements, _theorem1_constant(measurements)),
    (DESCENT, STEP_SIZE),
    52,
    kind=Kind.RULE,
    log10_constant=_theorem1_constant,
    form=forms.WITH_CONSTANT_FORM,
    mended_by="lemma2",
    mend=_MEND,
)

CALIBRATED = _claim(
    "lemma2-calibrated",
    "this toolkit: Lemma 2 with the constant that was measured",
    "(1 + cos θ / C)^(1/L) − 1 with C = max_l C_l at small η",
    r"\left(1 + \frac{\cos\theta}{C}\right)^{1/L} - 1 \text{ with } C = \max_l C_l \text{ at small } \eta",
    _calibrated,
    (DESCENT, STEP_SIZE, NO_FASTER),
    53,
    kind=Kind.RULE,
    needs=(variables.GRADIENT_CHANGE,),
    evidence="two η inside the limit beside that C is read from: smaller `etas`",
    log10_constant=lambda measurements: log10(constant_at_small_eta(measurements)),
)

SLICE_CURVATURE = replace(
    _claim(
        "slice-curvature",
        "this toolkit: the edge of stability 2/λ along the slice",
        "",
        "",
        curvature_limit,
        (DESCENT, SMALL_STEP),
        60,
        kind=Kind.ESTIMATE,
        needs=(variables.SLOPE,),
        form=forms.CURVATURE_FORM,
        mend="the loss is quadratic along the step",
    ),
    statement="the loss is back at its start near η = 2|𝓛'(0)| / 𝓛'' along the slice",
    formula=(r"\text{the loss is back at its start near } \eta = \frac{2 |\mathcal{L}'(0)|}{\mathcal{L}''}"),
    bound=lambda measurements: log10(measurements[variables.STEP_LIMIT]),
)

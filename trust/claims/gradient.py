"""Models of the gradient's breakdown, and the lemma that turns breakdown into loss."""

from __future__ import annotations

from functools import partial

import numpy as np
import xarray as xr

from trust import measurements as variables
from trust.claims.claim import Claim, Kind, Measurements, Premise, Quantity
from trust.claims.forms import descent as forms
from trust.claims.forms.trial import Form
from trust.claims.quantities import (
    EVIDENCE,
    above_noise,
    change_allowance,
    change_floor,
    constant_at_small_eta,
    log10,
    log10_trust,
    perturbed,
    weights,
    whole,
    whole_change,
    whole_noise,
)
from trust.claims.remembering import once
from trust.claims.resolution import loss_noise, resolved

_PAPER = "Bernstein, Vahdat, Yue and Liu, NeurIPS 2020"


def _breakdown(measurements: Measurements) -> xr.DataArray:
    change = log10(measurements[variables.GRADIENT_CHANGE]).where(above_noise(measurements))
    return perturbed(weights(change))


def _breakdown_allowance(measurements: Measurements) -> xr.DataArray:
    change = measurements[variables.GRADIENT_CHANGE]
    return perturbed(weights(change_allowance(change, change_floor(measurements))))


@once
def _moved(measurements: Measurements) -> xr.DataArray:
    """log10 ‖ΔW‖, all parameters as one vector (checkpoint, eta)."""
    return log10(whole(perturbed(measurements)[variables.PERTURBATION_NORM]))


@once
def _trusted(measurements: Measurements) -> xr.DataArray:
    """log10 ‖g‖ D(r) (checkpoint, eta)."""
    size = whole(measurements[variables.GRADIENT_NORM].isel(eta=0, drop=True))
    return log10_trust(perturbed(measurements)) + log10(size)


@once
def _fitted(measurements: Measurements, model: Quantity) -> xr.DataArray:
    """Whether an η is in the smaller half of the measurable ones, which the constant is read off (at least one)."""
    known = (whole_change(measurements) - model(measurements)).notnull()
    order = known.cumsum("eta")
    return known & (order <= np.maximum(order.max("eta") // 2, 1))


@once
def _fitted_constant(measurements: Measurements, model: Quantity) -> xr.DataArray:
    """log10 of the largest ‖g̃ − g‖ over the model on the smaller half of the measurable η (checkpoint)."""
    ratio = whole_change(measurements) - model(measurements)
    return ratio.where(_fitted(measurements, model)).max("eta")


def _out_of_sample(measurements: Measurements, model: Quantity) -> xr.DataArray:
    """Constant times model at the η that the constant has not seen, NaN at those where it holds by construction."""
    bound = _fitted_constant(measurements, model) + model(measurements)
    return bound.where(~_fitted(measurements, model))


def _fitted_allowance(measurements: Measurements, model: Quantity) -> xr.DataArray:
    """Rounding of the judged change and of the one that the constant was read off."""
    noise = 1 + 2 * whole_noise(measurements) / 10.0 ** whole_change(measurements)
    return log10(noise) + log10(noise.where(_fitted(measurements, model)).max("eta"))


@once
def linearisation_error(measurements: Measurements) -> xr.DataArray:
    """𝓛(η) − 𝓛(0) − η 𝓛'(0): by how much the loss leaves its tangent (checkpoint, eta)."""
    loss = measurements[variables.LOSS]
    start = loss.isel(eta=0, drop=True)
    return loss - start - measurements[variables.ETA] * measurements[variables.SLOPE_AT_ZERO]


def _lemma1_measured(measurements: Measurements) -> xr.DataArray:
    error = linearisation_error(measurements)
    evident = (abs(error) >= EVIDENCE * loss_noise(measurements)) & (error != 0) & np.isfinite(error)
    return perturbed(log10(error).where(evident))


def _lemma1_allowance(measurements: Measurements) -> xr.DataArray:
    """Of the loss, and of the gradients' changes, each the difference of two gradients."""
    error = linearisation_error(measurements)
    return log10(1 + 3 * loss_noise(measurements) / error.where(error > 0))


def _resolved(measurements: Measurements) -> xr.DataArray:
    measured = measurements[variables.SLOPE].notnull().any("eta")
    return perturbed(resolved(measurements).astype(float).where(measured))


def lemma1_bound(measurements: Measurements) -> xr.DataArray:
    """Σ_l ‖ΔW_l‖ max_{t ≤ η} ‖g_l(t) − g_l‖, the maximum over the grid (checkpoint, eta)."""
    change = measurements[variables.GRADIENT_DIFFERENCE]
    worst = xr.apply_ufunc(
        np.maximum.accumulate,
        change,
        input_core_dims=[["eta"]],
        output_core_dims=[["eta"]],
        kwargs={"axis": -1},
    )
    moved = measurements[variables.PERTURBATION_NORM]
    product = (moved * worst).where(moved > 0, 0.0)
    return product.sum("layer", skipna=False)


DEEP_RELATIVE_TRUST = Claim(
    id="deep-relative-trust",
    source=f"{_PAPER}, modelling assumption 1",
    statement="‖g̃_l − g_l‖_F / ‖g_l‖_F ≤ ∏_k (1 + r_k) − 1",
    formula=r"\frac{\|\tilde{g}_l - g_l\|_F}{\|g_l\|_F} \le \prod_k (1 + r_k) - 1",
    left="gradient breakdown, layer by layer",
    measured=_breakdown,
    bound=lambda measurements: log10_trust(perturbed(measurements)),
    kind=Kind.MODEL,
    needs=(variables.GRADIENT_CHANGE,),
    log10_constant=lambda measurements: log10(constant_at_small_eta(weights(measurements))),
    log10_allowance=_breakdown_allowance,
    number=30,
    subject="gradient",
    form=forms.BREAKDOWN_FORM,
    mend="the paper itself calls it a modelling assumption: its constant has to be measured",
)

RESOLVED = Premise(
    "fine grid",
    "the η do not leap, and the slope's integral is known to within half of ∫|slope|",
    _resolved,
    (variables.SLOPE, variables.SLOPE_AT_ZERO),
    "a finer grid (`etas`)",
)

LEMMA1 = Claim(
    id="lemma1",
    source=f"{_PAPER}, Lemma 1",
    statement="𝓛(W + ΔW) − 𝓛(W) + Σ_l ‖g_l‖‖ΔW_l‖ cos θ_l ≤ Σ_l ‖ΔW_l‖ max_t ‖g_l(W + tΔW) − g_l‖_F",
    formula=(
        r"\mathcal{L}(W + \Delta W) - \mathcal{L}(W) + \sum_l \|g_l\| \|\Delta W_l\| \cos\theta_l"
        r" \le \sum_l \|\Delta W_l\| \max_t \|g_l(W + t \Delta W) - g_l\|_F"
    ),
    left="loss above its tangent along the slice",
    measured=_lemma1_measured,
    bound=lambda measurements: perturbed(log10(lemma1_bound(measurements))),
    kind=Kind.LEMMA,
    premises=(RESOLVED,),
    needs=(variables.GRADIENT_DIFFERENCE, variables.SLOPE_AT_ZERO),
    add="`layers='all'`",
    log10_allowance=_lemma1_allowance,
    number=40,
    subject="loss",
    proved=True,
    form=forms.LEMMA1_FORM,
)


def _fitted_model(
    id: str, source: str, statement: str, formula: str, model: Quantity, number: int, form: Form
) -> Claim:
    """A model with one constant for the whole gradient, which is judged at the η that the constant has not seen."""
    return Claim(
        id=id,
        source=source,
        statement=f"{statement} fitted to the smaller measurable η",
        formula=formula,
        left="change of the whole gradient, at the η that the constant has not seen",
        measured=whole_change,
        bound=partial(_out_of_sample, model=model),
        kind=Kind.MODEL,
        needs=(variables.GRADIENT_DIFFERENCE, variables.PERTURBATION_NORM, variables.GRADIENT_NORM),
        add="`layers='all'` and at least two η at which the gradient's change is above the noise",
        log10_constant=partial(_fitted_constant, model=model),
        log10_allowance=partial(_fitted_allowance, model=model),
        number=number,
        subject="gradient",
        form=form,
        mend="nothing: a constant serves only as far as it was fitted",
    )


FITTED_TRUST = _fitted_model(
    "deep-relative-trust-fitted",
    f"{_PAPER}, modelling assumption 1 with a constant, as fair as its rival's",
    "‖g̃ − g‖ ≤ C ‖g‖ [∏_k (1 + r_k) − 1], all parameters as one vector, C",
    r"\|\tilde{g} - g\| \le C \, \|g\| \Bigl[\prod_k (1 + r_k) - 1\Bigr]",
    _trusted,
    31,
    forms.FITTED_FORM,
)
EUCLIDEAN_TRUST = _fitted_model(
    "euclidean-trust",
    f"{_PAPER}, Section 1: the model that it argues against",
    "‖g̃ − g‖ ≤ K ‖ΔW‖, all parameters as one vector, K",
    r"\|\tilde{g} - g\| \le K \, \|\Delta W\|",
    _moved,
    70,
    forms.EUCLIDEAN_FORM,
)

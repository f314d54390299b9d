"""Bounds on the change of the output that came before and after Theorem 1: the rungs of the ladder.

They bound ‖f̃(x) − f(x)‖ itself; both sides are divided by ‖f(x)‖, so that all claims about the function have one
left side and can be drawn on one axis.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from trust import measurements as variables
from trust.claims.claim import Claim, Measurements, Premise, Quantity
from trust.claims.forms import output as forms
from trust.claims.gradient import linearisation_error
from trust.claims.premises import (
    CHAIN,
    LAYERS,
    LINEAR,
    LIPSCHITZ,
    NO_BIASES,
    NONEXPANSIVE,
    ORTHOGONAL,
    ORTHOGONAL_COSINE,
    SAME,
    SCALED_DATA,
    SCALED_STEP,
    SCALED_WEIGHTS,
    SMALL_RHO,
    SQUARE_LOSS,
    ZERO_AT_ZERO,
)
from trust.claims.quantities import (
    EVIDENCE,
    agd_eta,
    along_layers,
    change_allowance,
    depth,
    evident_change,
    lipschitz,
    log10,
    output_change,
    output_change_allowance,
    output_triangle,
    perturbed,
    weights,
)
from trust.claims.remembering import once
from trust.claims.resolution import loss_noise
from trust.function_bounds import (
    log10_agd_curvature_bound,
    log10_input_sensitivity_bound,
    log10_linearisation_remainder_bound,
    log10_neyshabur_bound,
    log10_spectral_product_bound,
    log10_telescoped_bound,
)

__all__ = [
    "AGD_MAJORISATION",
    "INPUT_SENSITIVITY",
    "LINEARISATION_REMAINDER",
    "NEYSHABUR",
    "SPECTRAL_PRODUCT",
    "TELESCOPED",
]

LADDER = "the ladder's measurements (leave out `ladder=False` and `spectra='none'`)"
_OUTPUT = "relative output change, example by example (the bound divided by ‖f(x)‖ too)"


def relative_to_output(log10_bound: xr.DataArray, measurements: Measurements) -> xr.DataArray:
    return log10_bound - log10(measurements[variables.OUTPUT_NORM])


def _infinite(measurements: Measurements) -> xr.DataArray:
    """Where an activation is not known nothing is claimed."""
    own = perturbed(measurements)
    return xr.full_like(own[variables.ETA] * own[variables.OUTPUT_NORM], np.inf, dtype=float)


def _of_norms(bound: Callable[..., Any]) -> Quantity:
    """A bound that takes each layer's ‖ΔW_k‖₂, ‖W_k‖₂ and β_k, and ‖x‖."""

    def quantity(measurements: Measurements) -> xr.DataArray:
        own, betas = perturbed(weights(measurements)), lipschitz(measurements)
        if betas is None:
            return _infinite(measurements)
        found = along_layers(
            lambda steps, sizes, beta, x: bound(steps, spectral_norms=sizes, betas=beta, input_norm=x),
            own[variables.PERTURBATION_OPERATOR_NORM],
            own[variables.OPERATOR_NORM],
            betas,
            own[variables.INPUT_NORM],
        )
        return relative_to_output(found, measurements)

    return quantity


def _without_betas(bound: Callable[..., Any]) -> Callable[..., Any]:
    return lambda steps, *, spectral_norms, betas, input_norm: bound(
        steps, spectral_norms=spectral_norms, input_norm=input_norm
    )


def _telescoped(measurements: Measurements) -> xr.DataArray:
    own, betas = perturbed(weights(measurements)), lipschitz(measurements)
    if betas is None:
        return _infinite(measurements)
    found = along_layers(
        lambda responses, sizes, beta, steps: log10_telescoped_bound(
            responses, perturbed_spectral_norms=sizes, betas=beta, bias_changes=steps
        ),
        own[variables.PERTURBATION_RESPONSE],
        own[variables.PERTURBED_OPERATOR_NORM],
        betas,
        _bias_changes(perturbed(measurements)),
    )
    return relative_to_output(found, measurements)


@once
def _bias_changes(measurements: Measurements) -> xr.DataArray:
    """For each weight matrix ‖Δb‖ of the vectors between it and the next (checkpoint, eta, layer, example)."""
    is_weight = measurements[variables.IS_WEIGHT].values
    owner = np.maximum(np.cumsum(is_weight) - 1, 0)
    response = measurements[variables.PERTURBATION_RESPONSE]
    parts = []
    for k in range(int(is_weight.sum())):
        vectors = np.flatnonzero(~is_weight & (owner == k))
        parts.append(response.isel(layer=vectors).sum("layer", skipna=False))
    names = measurements["layer"].values[is_weight]
    return xr.concat(parts, dim="layer").assign_coords(layer=names)


def _input_change(measurements: Measurements) -> xr.DataArray:
    own = perturbed(measurements)
    change = own[variables.INPUT_RESPONSE] / own[variables.OUTPUT_NORM]
    return evident_change(change, measurements)


def _input_bound(measurements: Measurements) -> xr.DataArray:
    own, betas = weights(perturbed(measurements)), lipschitz(measurements)
    if betas is None:
        return _infinite(measurements)
    found = along_layers(
        lambda change, sizes, beta: log10_input_sensitivity_bound(change, spectral_norms=sizes, betas=beta),
        own[variables.ETA] * own[variables.INPUT_NORM],
        own[variables.OPERATOR_NORM],
        betas,
    )
    return relative_to_output(found, measurements)


def _input_allowance(measurements: Measurements) -> xr.DataArray:
    own = perturbed(measurements)
    change = own[variables.INPUT_RESPONSE] / own[variables.OUTPUT_NORM]
    return change_allowance(change, measurements[variables.OUTPUT_NOISE_FLOOR])


@once
def _rounding(measurements: Measurements) -> xr.DataArray:
    """What float64's rounding can do to f̃ − f − ∂_W f·ΔW: L n ε times the product of all norms."""
    own = perturbed(weights(measurements))
    sizes = (own[variables.PERTURBED_OPERATOR_NORM].clip(min=own[variables.OPERATOR_NORM])).prod(
        "layer", skipna=False
    )
    terms = own.sizes["layer"] * float(np.maximum(own[variables.ROWS], own[variables.COLUMNS]).max())
    return terms * 2.0**-52 * sizes * own[variables.INPUT_NORM]


def _remainder(measurements: Measurements) -> xr.DataArray:
    own = perturbed(measurements)
    error = own[variables.LINEARISATION_ERROR]
    evident = (error >= EVIDENCE * _rounding(measurements)) & np.isfinite(error) & (error > 0)
    return log10(error / own[variables.OUTPUT_NORM]).where(evident)


def _remainder_allowance(measurements: Measurements) -> xr.DataArray:
    error = perturbed(measurements)[variables.LINEARISATION_ERROR]
    return log10(1 + _rounding(measurements) / error.where(error > 0))


def _agd_rise(measurements: Measurements) -> xr.DataArray:
    """log10 of (𝓛(η) − 𝓛(0) − η𝓛'(0))/2: the mean squared error counts ‖f − y‖²/d_L, the claim half of it."""
    rise = perturbed(linearisation_error(measurements))
    noise = perturbed(loss_noise(measurements))
    return log10(rise / 2).where((rise >= EVIDENCE * noise) & (rise > 0) & np.isfinite(rise))


def _agd_allowance(measurements: Measurements) -> xr.DataArray:
    """Noise of the losses, and what the premises' tolerances let through.

    With all norms up to 1 + s too large the change of the output is at most (1 + s)^L (e^η − 1) per √d_L, and the
    residual at most 2(1 + s)^(L+1), of which a share c meets a remainder of at most (1 + s)^L (e^η − 1)²/2.
    """
    rise = perturbed(linearisation_error(measurements))
    slack = (1 + SAME) ** (2 * depth(measurements) + 1) * (1 + 2 * ORTHOGONAL_COSINE)
    return log10(slack * (1 + perturbed(loss_noise(measurements)) / rise.where(rise > 0)))


def _agd_bound(measurements: Measurements) -> xr.DataArray:
    eta = agd_eta(measurements)
    return xr.apply_ufunc(log10_agd_curvature_bound, eta.fillna(0.0)).where(eta.notnull())


def output_claim(
    id: str,
    source: str,
    statement: str,
    bound: Quantity,
    premises: tuple[Premise, ...],
    number: int,
    needs: tuple[str, ...],
    **more: Any,
) -> Claim:
    """A claim about the relative output change, unless said otherwise."""
    common: dict[str, Any] = {
        "left": _OUTPUT,
        "measured": output_change,
        "log10_allowance": output_change_allowance,
        "trivial": output_triangle,
        "add": LADDER,
    }
    return Claim(
        id=id,
        source=source,
        statement=statement,
        bound=bound,
        premises=premises,
        needs=needs,
        number=number,
        **{**common, **more},
    )


_NORMS = (
    variables.PERTURBATION_OPERATOR_NORM,
    variables.OPERATOR_NORM,
    variables.INPUT_NORM,
    variables.OUTPUT_NORM,
)

INPUT_SENSITIVITY = output_claim(
    "input-sensitivity",
    "Bernstein's blog on automatic gradient descent; a folklore Lipschitz bound",
    "‖f(x + Δx) − f(x)‖ ≤ ∏_k β_k‖W_k‖₂ · ‖Δx‖",
    _input_bound,
    (LAYERS, LIPSCHITZ),
    80,
    (variables.INPUT_RESPONSE, variables.OPERATOR_NORM, variables.INPUT_NORM),
    left="relative change of the output where the input moves by η‖x‖ along the gradient of its loss",
    measured=_input_change,
    log10_allowance=_input_allowance,
    trivial=None,
    subject="input",
    proved=True,
    formula=r"\|f(x + \Delta x) - f(x)\| \le \prod_k \beta_k \|W_k\|_2 \cdot \|\Delta x\|",
    form=forms.INPUT_FORM,
)

SPECTRAL_PRODUCT = output_claim(
    "spectral-product",
    "Bernstein, Mingard, Huang, Azizan and Yue 2023 (automatic gradient descent), perturbation lemma",
    "‖f̃(x) − f(x)‖ ≤ ‖x‖ ∏_k β_k‖W_k‖₂ · [∏_k (1 + ρ_k) − 1], ρ_k = ‖ΔW_k‖₂/‖W_k‖₂",
    _of_norms(log10_spectral_product_bound),
    (LAYERS, NO_BIASES, ZERO_AT_ZERO),
    81,
    _NORMS,
    proved=True,
    formula=(
        r"\|\tilde{f}(x) - f(x)\| \le \|x\| \prod_k \beta_k \|W_k\|_2 \cdot \Bigl[\prod_k (1 + \rho_k) - 1\Bigr],"
        r" \quad \rho_k = \frac{\|\Delta W_k\|_2}{\|W_k\|_2}"
    ),
    form=forms.SPECTRAL_FORM,
)

NEYSHABUR = output_claim(
    "neyshabur",
    "Neyshabur, Bhojanapalli and Srebro, ICLR 2018, Lemma 2",
    "‖f̃(x) − f(x)‖ ≤ e‖x‖ ∏_k‖W_k‖₂ · Σ_k ρ_k, if ρ_k ≤ 1/L for all k",
    _of_norms(_without_betas(log10_neyshabur_bound)),
    (LAYERS, NO_BIASES, ZERO_AT_ZERO, NONEXPANSIVE, SMALL_RHO),
    82,
    _NORMS,
    proved=True,
    formula=(
        r"\|\tilde{f}(x) - f(x)\| \le e \|x\| \prod_k \|W_k\|_2 \cdot \sum_k \rho_k,"
        r" \quad \text{if } \rho_k \le 1/L \text{ for all } k"
    ),
    form=forms.NEYSHABUR_FORM,
)

TELESCOPED = output_claim(
    "telescoped",
    "this toolkit: the perturbation lemma's induction with what passes through the network",
    "‖f̃(x) − f(x)‖ ≤ Σ_l (∏_{k>l} β_k‖W̃_k‖₂) β_l (‖ΔW_l h_{l−1}(x)‖ + ‖Δb_l‖)",
    _telescoped,
    (LAYERS, LIPSCHITZ),
    83,
    (variables.PERTURBATION_RESPONSE, variables.PERTURBED_OPERATOR_NORM, variables.OUTPUT_NORM),
    proved=True,
    formula=(
        r"\|\tilde{f}(x) - f(x)\| \le \sum_l \Bigl(\prod_{k > l} \beta_k \|\tilde{W}_k\|_2\Bigr) \beta_l"
        r" \bigl(\|\Delta W_l \, h_{l - 1}(x)\| + \|\Delta b_l\|\bigr)"
    ),
    form=forms.TELESCOPED_FORM,
)


LINEARISATION_REMAINDER = output_claim(
    "linearisation-remainder",
    "Bernstein's thesis, for deep linear networks",
    "‖f̃ − f − ∂_W f·ΔW‖ ≤ ‖x‖ ∏_k‖W_k‖₂ · [∏_k (1 + ρ_k) − 1 − Σ_k ρ_k]",
    _of_norms(_without_betas(log10_linearisation_remainder_bound)),
    (LAYERS, NO_BIASES, LINEAR),
    87,
    (*_NORMS, variables.LINEARISATION_ERROR),
    left="norm of the output's second-order remainder over ‖f(x)‖, example by example",
    measured=_remainder,
    log10_allowance=_remainder_allowance,
    trivial=None,
    subject="remainder",
    proved=True,
    formula=(
        r"\|\tilde{f} - f - \partial_W f \cdot \Delta W\| \le \|x\| \prod_k \|W_k\|_2 \cdot"
        r" \Bigl[\prod_k (1 + \rho_k) - 1 - \sum_k \rho_k\Bigr]"
    ),
    form=forms.REMAINDER_FORM,
)

AGD_MAJORISATION = output_claim(
    "agd-majorisation",
    "Bernstein, Mingard, Huang, Azizan and Yue 2023 (automatic gradient descent), majorisation of the square loss",
    "𝓛(W + ΔW) ≤ 𝓛(W) + Σ_k⟨ΔW_k, g_k⟩ + ½(e^η − 1)², 𝓛 = mean of ‖f − y‖²/(2d_L), ‖ΔW_k‖₂ = √(d_k/d_{k−1}) η/L",
    _agd_bound,
    (
        CHAIN,
        NO_BIASES,
        ZERO_AT_ZERO,
        NONEXPANSIVE,
        SQUARE_LOSS,
        SCALED_DATA,
        SCALED_WEIGHTS,
        SCALED_STEP,
        ORTHOGONAL,
    ),
    88,
    (variables.PERTURBATION_OPERATOR_NORM, variables.SLOPE_AT_ZERO, variables.LINEARISATION_COSINE),
    left="loss above its linearisation",
    measured=_agd_rise,
    log10_allowance=_agd_allowance,
    trivial=None,
    subject="loss",
    proved=True,
    formula=(
        r"\mathcal{L}(W + \Delta W) \le \mathcal{L}(W) + \sum_k \langle \Delta W_k, g_k \rangle"
        r" + \tfrac{1}{2}(e^\eta - 1)^2, \\"
        r" \mathcal{L} = \text{mean of } \dfrac{\|f - y\|^2}{2 d_L},"
        r" \quad \|\Delta W_k\|_2 = \sqrt{\dfrac{d_k}{d_{k - 1}}} \, \dfrac{\eta}{L}"
    ),
    form=forms.AGD_FORM,
)

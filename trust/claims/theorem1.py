"""Theorem 1 of Bernstein et al. (2020), as published and with constants of its own for each layer.

Two conventions for the condition number of a matrix are in use: σ_max/σ_min over its min(m, n) singular values, and
max/min of ‖Wx‖/‖x‖, which is infinite where W has a kernel, as in every layer that narrows. Both are claims here.
Under the first the form for the function fails for a layer that narrows; under the second it follows from the
layerwise form: β_k‖W_k‖₂/(α_k σ_min(W_k)) ≤ βκ/α for each k, and ∏(1 + κ(ΔW_k) r_k) − 1 ≤ κ^L [∏(1 + r_k) − 1], term
by term.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr

from trust import measurements as variables
from trust.claims.claim import Claim, Measurements
from trust.claims.forms import theorem1 as forms
from trust.claims.premises import CHAIN, INJECTIVE, KAPPA, NO_BIASES, TRANSMISSION, VALLEY
from trust.claims.quantities import (
    along_layers,
    change_allowance,
    condition_number,
    depth,
    evident_change,
    output_change,
    output_change_allowance,
    output_triangle,
    perturbed,
    step_condition_number,
    transmissions,
    weights,
)
from trust.claims.remembering import once
from trust.theorem1 import (
    log10_function_bound,
    log10_gated_jacobian_bound,
    log10_jacobian_bound,
    log10_layerwise_function_bound,
    log10_theorem1_constant,
)

_PAPER = "Bernstein, Vahdat, Yue and Liu, NeurIPS 2020"


def _jacobian_change(measurements: Measurements) -> xr.DataArray:
    return evident_change(perturbed(weights(measurements))[variables.JACOBIAN_CHANGE], measurements)


def _jacobian_allowance(measurements: Measurements) -> xr.DataArray:
    change = perturbed(weights(measurements))[variables.JACOBIAN_CHANGE]
    return change_allowance(change, measurements[variables.OUTPUT_NOISE_FLOOR])


def _common(measurements: Measurements) -> tuple[float, float]:
    """The published form's common α and β, ReLU as the paper models it; (0, 1) where φ is not known."""
    found = transmissions(measurements, modelled=True)
    if found is None:
        return 0.0, 1.0
    return float(found[0].min()), float(found[1].max())


@once
def _relative(measurements: Measurements) -> xr.DataArray:
    return perturbed(weights(measurements))[variables.RELATIVE_PERTURBATION]


@once
def _published_function(measurements: Measurements) -> xr.DataArray:
    alpha, beta = _common(measurements)
    return along_layers(
        lambda r, kappa: log10_function_bound(r, condition_number=kappa, alpha=alpha, beta=beta),
        _relative(measurements),
        condition_number(measurements),
    )


def _injective_function(measurements: Measurements) -> xr.DataArray:
    """Infinite where a matrix has a kernel: where a layer narrows."""
    own = weights(measurements)
    narrows = bool((own[variables.ROWS] < own[variables.COLUMNS]).any())
    bound = _published_function(measurements)
    return xr.full_like(bound, np.inf) if narrows else bound


@once
def _published_constant(measurements: Measurements) -> xr.DataArray:
    """log10 (βκ²/α)^L, κ without the W̃_k: as η → 0, or at the smallest η where κ(ΔW) varies (checkpoint)."""
    alpha, beta = _common(measurements)
    count = depth(measurements)
    found = along_layers(
        lambda kappa: log10_theorem1_constant(condition_number=kappa, alpha=alpha, beta=beta, depth=count),
        condition_number(measurements, after=False, realised=False),
    )
    return found.isel(eta=0, drop=True) if "eta" in found.dims else found


def _layerwise_function(measurements: Measurements) -> xr.DataArray:
    own = perturbed(weights(measurements))
    found = transmissions(measurements, modelled=False)
    if found is None:
        return xr.full_like(own[variables.RELATIVE_PERTURBATION].isel(layer=0, drop=True), np.inf)
    injective = (own[variables.ROWS] >= own[variables.COLUMNS]).values
    smallest = (own[variables.SPECTRAL_NORM] / own[variables.CONDITION_NUMBER]).where(
        xr.DataArray(injective, coords={"layer": own["layer"].values}, dims="layer"), 0.0
    )

    def bound(r: object, top: object, bottom: object, kappa: object, alpha: object, beta: object) -> object:
        return log10_layerwise_function_bound(
            r,
            spectral_norms=top,
            smallest_singular_values=bottom,
            perturbation_condition_numbers=kappa,
            alphas=alpha,
            betas=beta,
        )

    return along_layers(
        bound,
        own[variables.RELATIVE_PERTURBATION],
        own[variables.SPECTRAL_NORM],
        smallest,
        step_condition_number(own),
        *found,
    )


def _by_layer(measurements: Measurements, *, gated: bool) -> xr.DataArray:
    """The Jacobian's bound at the input of each layer l: its product runs over the layers l..L."""
    relative = _relative(measurements)
    kappa = condition_number(measurements, after=not gated)  # the gated form does not need the W̃_k's
    if gated:
        found = transmissions(measurements, modelled=False)
        alpha, beta = (0.0, 1.0) if found is None else (float(found[0].min()), float(found[1].max()))
        gates = perturbed(weights(measurements))[variables.GATE_CHANGE]
    else:
        alpha, beta = _common(measurements)
    parts = []
    for k in range(relative.sizes["layer"]):
        above = {"layer": slice(k, None)}
        if gated:
            part = along_layers(
                lambda r, s, c: log10_gated_jacobian_bound(
                    r, gate_changes=s, condition_number=c, alpha=alpha, beta=beta
                ),
                relative.isel(above),
                gates.isel(above),
                kappa,
            )
        else:
            part = along_layers(
                lambda r, c: log10_jacobian_bound(r, condition_number=c, alpha=alpha, beta=beta),
                relative.isel(above),
                kappa,
            )
        parts.append(part)
    return xr.concat(parts, dim="layer").assign_coords(layer=relative["layer"].values)


FUNCTION = Claim(
    id="theorem1-function",
    source=f"{_PAPER}, Theorem 1a",
    statement="‖f̃(x) − f(x)‖ / ‖f(x)‖ ≤ (βκ²/α)^L · [∏_k (1 + r_k) − 1], κ over min(m, n) singular values",
    formula=(
        r"\frac{\|\tilde{f}(x) - f(x)\|}{\|f(x)\|} \le \left(\frac{\beta \kappa^2}{\alpha}\right)^L \cdot"
        r" \Bigl[\prod_k (1 + r_k) - 1\Bigr],"
        r" \quad \kappa \text{ over } \min(m, n) \text{ singular values}"
    ),
    left="relative output change, example by example",
    measured=output_change,
    bound=_published_function,
    premises=(CHAIN, NO_BIASES, TRANSMISSION, KAPPA),
    needs=(variables.OUTPUT_CHANGE,),
    add="`samples=N`",
    log10_constant=_published_constant,
    log10_allowance=output_change_allowance,
    trivial=output_triangle,
    number=10,
    mended_by="theorem1-function-injective",
    mend="κ is infinite where a matrix has a kernel (no layer is narrower than the one before)",
    form=forms.FUNCTION_FORM,
)

INJECTIVE_FUNCTION = replace(
    FUNCTION,
    id="theorem1-function-injective",
    statement="‖f̃(x) − f(x)‖ / ‖f(x)‖ ≤ (βκ²/α)^L · [∏_k (1 + r_k) − 1], κ = max/min of ‖Wx‖/‖x‖",
    formula=(
        r"\frac{\|\tilde{f}(x) - f(x)\|}{\|f(x)\|} \le \left(\frac{\beta \kappa^2}{\alpha}\right)^L \cdot"
        r" \Bigl[\prod_k (1 + r_k) - 1\Bigr],"
        r" \quad \kappa = \max / \min \text{ of } \frac{\|W x\|}{\|x\|}"
    ),
    bound=_injective_function,
    number=11,
    proved=True,
    mended_by="",
    mend="",
    form=forms.INJECTIVE_FORM,
)

LAYERWISE = Claim(
    id="theorem1-function-layerwise",
    source="this toolkit, from the proof of Theorem 1a",
    statement="‖f̃(x) − f(x)‖ / ‖f(x)‖ ≤ ∏_k (β_k‖W_k‖₂ / (α_k σ_min(W_k))) · [∏_k (1 + κ(ΔW_k) r_k) − 1]",
    formula=(
        r"\frac{\|\tilde{f}(x) - f(x)\|}{\|f(x)\|}"
        r" \le \prod_k \frac{\beta_k \|W_k\|_2}{\alpha_k \, \sigma_{\min}(W_k)} \cdot"
        r" \Bigl[\prod_k \bigl(1 + \kappa(\Delta W_k) \, r_k\bigr) - 1\Bigr]"
    ),
    left="relative output change, example by example",
    measured=output_change,
    bound=_layerwise_function,
    premises=(CHAIN, NO_BIASES, TRANSMISSION, INJECTIVE),
    needs=(variables.OUTPUT_CHANGE,),
    add="`samples=N`",
    log10_allowance=output_change_allowance,
    trivial=output_triangle,
    number=12,
    proved=True,
    form=forms.LAYERWISE_FORM,
)

JACOBIAN = Claim(
    id="theorem1-jacobian",
    source=f"{_PAPER}, Theorem 1b",
    statement="‖J̃_l − J_l‖_F / ‖J_l‖_F ≤ (βκ²/α)^(L−l) · [∏_{k>l} (1 + r_k) − 1]",
    formula=(
        r"\frac{\|\tilde{J}_l - J_l\|_F}{\|J_l\|_F} \le \left(\frac{\beta \kappa^2}{\alpha}\right)^{L - l} \cdot"
        r" \Bigl[\prod_{k > l} (1 + r_k) - 1\Bigr]"
    ),
    left="relative change of the layer-to-output Jacobian, example by example",
    measured=_jacobian_change,
    bound=lambda measurements: _by_layer(measurements, gated=False),
    premises=(CHAIN, NO_BIASES, TRANSMISSION, KAPPA),
    needs=(variables.JACOBIAN_CHANGE,),
    add="`jacobian=N`",
    log10_constant=_published_constant,
    log10_allowance=_jacobian_allowance,
    number=13,
    mended_by="theorem1-jacobian-gated",
    mend="the gates' own change is counted, and the widths shrink first and then grow",
    form=forms.JACOBIAN_FORM,
    subject="jacobian",
)

GATED = Claim(
    id="theorem1-jacobian-gated",
    source="this toolkit, from the proof of Theorem 1b with the gates' own change",
    statement="‖J̃_l − J_l‖_F / ‖J_l‖_F ≤ (βκ²/α)^(L−l) · [∏_{k>l} (1 + r_k)(1 + s_k) − 1]",
    formula=(
        r"\frac{\|\tilde{J}_l - J_l\|_F}{\|J_l\|_F} \le \left(\frac{\beta \kappa^2}{\alpha}\right)^{L - l} \cdot"
        r" \Bigl[\prod_{k > l} (1 + r_k)(1 + s_k) - 1\Bigr]"
    ),
    left="relative change of the layer-to-output Jacobian, example by example",
    measured=_jacobian_change,
    bound=lambda measurements: _by_layer(measurements, gated=True),
    premises=(CHAIN, TRANSMISSION, VALLEY),
    needs=(variables.JACOBIAN_CHANGE, variables.GATE_CHANGE),
    add="`jacobian=N` (gates are measured where the network's structure can be read)",
    log10_allowance=_jacobian_allowance,
    number=14,
    proved=True,
    form=forms.GATED_FORM,
    subject="jacobian",
)

"""Bounds on the change of the output of residual and convolutional networks, step by step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from trust import measurements as variables
from trust.claims.claim import Measurements, Premise
from trust.claims.forms import residual as forms
from trust.claims.output import output_claim
from trust.claims.premises import NO_BIASES, told
from trust.claims.quantities import (
    along_layers,
    log10,
    perturbed,
    structure,
    uses,
)
from trust.measurements import Variable
from trust.residual_bounds import (
    log10_structure_lipschitz,
    log10_structure_spectral_bound,
    log10_structure_telescoped_bound,
    stages,
)
from trust.structure import Step, Structure

__all__ = ["KNOWN_STEPS", "RESIDUAL_SPECTRAL", "RESIDUAL_TELESCOPED", "log10_lipschitz"]

_READABLE = "a network whose forward pass can be followed (docs/how-to/other-networks.md)"


def _known_steps(measurements: Measurements) -> xr.DataArray:
    found = structure(measurements)
    if max(uses(measurements), default=1) > 1 or (found is not None and found.repeats):
        return told(measurements, False)
    if found is None or any(step.kind == "other" for step in found.steps):
        return told(measurements, None)
    return told(measurements, found.understood)


def _zero_at_zero(measurements: Measurements) -> xr.DataArray:
    found = structure(measurements)
    if found is None:
        return told(measurements, None)
    fails = any(step.kind in ("activation", "map") and not step.zero_at_zero for step in found.steps)
    return told(measurements, False if fails else True if found.understood else None)


def _nothing_claimed(measurements: Measurements) -> xr.DataArray:
    own = perturbed(measurements)
    return xr.full_like(own[variables.ETA] * own[variables.OUTPUT_NORM], np.inf, dtype=float)


def _of_stages(own: Measurements, found: Structure, of_stage: Callable[[Step], xr.DataArray]) -> xr.DataArray:
    """A number of each stage, along ``layer``."""
    parts = [of_stage(stage).reset_coords(drop=True) for stage in stages(found)]
    return xr.concat(parts, dim="layer").assign_coords(layer=np.arange(len(parts)))


def _norm(own: Measurements, plain: Variable, folded: Variable) -> Callable[[Step], xr.DataArray]:
    """A stage's norm: that of its weight, or with a batch norm that of both together; NaN where it was not measured."""

    def of_stage(stage: Step) -> xr.DataArray:
        name = folded if stage.norm or stage.kind == "batch norm" else plain
        values = own[name if name in own else plain].sel(layer=stage.name)
        return values if name in own else xr.full_like(values, np.nan)

    return of_stage


def log10_lipschitz(measurements: Measurements) -> xr.DataArray:
    """log10 of ∏β‖W_k‖₂, or what it is of another structure (checkpoint); NaN where it is not known.

    Without the ladder's norms a matrix has its spectral norm; a convolution or a batch norm has none.
    """
    found = structure(measurements)
    unknown = xr.full_like(measurements["checkpoint"], np.nan, dtype=float).reset_coords(drop=True)
    if found is None or found.repeats or not stages(found):
        return unknown
    if variables.OPERATOR_NORM in measurements:
        norm = _norm(measurements, variables.OPERATOR_NORM, variables.STAGE_NORM)
    else:

        def norm(stage: Step) -> xr.DataArray:
            matrix = stage.kind == "weight" and not stage.norm and stage.form in ("vector", "positions")
            if not matrix or variables.SPECTRAL_NORM not in measurements:
                return unknown
            return measurements[variables.SPECTRAL_NORM].sel(layer=stage.name)

    return along_layers(
        lambda norms: log10_structure_lipschitz(found, norms=norms),
        _of_stages(measurements, found, norm),
    )


def _response(own: Measurements) -> Callable[[Step], xr.DataArray]:
    """‖u‖ of a stage, or ‖ΔW h‖ + ‖Δb‖ where there is no batch norm."""
    measured = _norm(own, variables.PERTURBATION_RESPONSE, variables.STAGE_RESPONSE)

    def of_stage(stage: Step) -> xr.DataArray:
        values = measured(stage)
        if stage.norm or stage.kind == "batch norm" or not stage.bias:
            return values
        return values + own[variables.PERTURBATION_RESPONSE].sel(layer=stage.bias)

    return of_stage


def _bound(
    measurements: Measurements, calculated: Callable[[Measurements, Structure], xr.DataArray]
) -> xr.DataArray:
    """Nothing is claimed of what is not known, or has a weight that is used twice."""
    found = structure(measurements)
    if found is None or not found.understood or found.repeats or not stages(found):
        return _nothing_claimed(measurements)
    return calculated(perturbed(measurements), found) - log10(measurements[variables.OUTPUT_NORM])


def _telescoped(measurements: Measurements) -> xr.DataArray:
    def calculated(own: Measurements, found: Structure) -> xr.DataArray:
        norm = _norm(own, variables.PERTURBED_OPERATOR_NORM, variables.PERTURBED_STAGE_NORM)
        return along_layers(
            lambda u, w: log10_structure_telescoped_bound(found, u, perturbed_norms=w),
            _of_stages(own, found, _response(own)),
            _of_stages(own, found, norm),
        )

    return _bound(measurements, calculated)


def _spectral(measurements: Measurements) -> xr.DataArray:
    def calculated(own: Measurements, found: Structure) -> xr.DataArray:
        changes = _norm(own, variables.PERTURBATION_OPERATOR_NORM, variables.PERTURBATION_STAGE_NORM)
        return along_layers(
            lambda d, w, x: log10_structure_spectral_bound(found, d, norms=w, input_norm=x),
            _of_stages(own, found, changes),
            _of_stages(own, found, _norm(own, variables.OPERATOR_NORM, variables.STAGE_NORM)),
            own[variables.INPUT_NORM],
        )

    return _bound(measurements, calculated)


KNOWN_STEPS = Premise(
    "known steps",
    "f is made of matrices and convolutions, each used once, batch norm in evaluation mode, elementwise activations,"
    " fixed maps (pooling) and sums",
    _known_steps,
    add=_READABLE,
)
_ZERO_AT_ZERO = Premise("φ(0) = 0", "every activation and fixed map is 0 at 0", _zero_at_zero, add=_READABLE)

RESIDUAL_TELESCOPED = output_claim(
    "residual-telescoped",
    "this toolkit: the telescoped bound through skip connections, pooling and folded batch norm",
    "‖f̃(x) − f(x)‖ ≤ e_L, e_k = (1 + β_k‖W̃_k‖₂) e_{k−1} + β_k‖u_k‖ for a block h + φ_k(W_k h + b_k)",
    _telescoped,
    (KNOWN_STEPS,),
    90,
    (variables.PERTURBATION_RESPONSE, variables.PERTURBED_OPERATOR_NORM, variables.OUTPUT_NORM),
    proved=True,
    formula=(
        r"\|\tilde{f}(x) - f(x)\| \le e_L, \\"
        r" e_k = (1 + \beta_k \|\tilde{W}_k\|_2) \, e_{k - 1} + \beta_k \|u_k\|"
        r" \text{ for a block } h + \varphi_k(W_k h + b_k)"
    ),
    form=forms.RESIDUAL_TELESCOPED_FORM,
)
"""Proof: step by step e bounds ‖h̃ − h‖. Behind a weight h̃ − h becomes W̃(h̃ − h) + u, u = ΔW h + Δb; activations and
fixed maps are Lipschitz, and the change of a sum is the sum of the changes (:mod:`trust.residual_bounds`). A batch norm
in evaluation mode is affine, so that W and b are those of both together. On a plain chain it is ``telescoped``."""

RESIDUAL_SPECTRAL = output_claim(
    "residual-spectral",
    "this toolkit: the spectral product through skip connections and pooling",
    "‖f̃(x) − f(x)‖ ≤ ‖x‖ [∏_k (1 + β_k(‖W_k‖₂ + ‖ΔW_k‖₂)) − ∏_k (1 + β_k‖W_k‖₂)] for blocks h + φ_k(W_k h)",
    _spectral,
    (KNOWN_STEPS, NO_BIASES, _ZERO_AT_ZERO),
    91,
    (
        variables.PERTURBATION_OPERATOR_NORM,
        variables.OPERATOR_NORM,
        variables.INPUT_NORM,
        variables.OUTPUT_NORM,
    ),
    proved=True,
    formula=(
        r"\|\tilde{f}(x) - f(x)\| \le \|x\|"
        r" \Bigl[\prod_k \bigl(1 + \beta_k(\|W_k\|_2 + \|\Delta W_k\|_2)\bigr)"
        r" - \prod_k (1 + \beta_k \|W_k\|_2)\Bigr] \\ \text{for blocks } h + \varphi_k(W_k h)"
    ),
    form=forms.RESIDUAL_SPECTRAL_FORM,
)
"""Proof: as ``residual-telescoped``, with ‖u_k‖ ≤ ‖ΔW_k‖₂‖h_{k−1}‖ and ‖h_k‖ ≤ (1 + β_k‖W_k‖₂)‖h_{k−1}‖, as nothing
adds a constant. On a plain chain without biases it is ``spectral-product``."""

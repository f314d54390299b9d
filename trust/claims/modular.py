"""How sharp the loss is along the slice, by the modular norm: as published, and beyond the unit ball.

A perceptron is linear modules with its activations between them. Any masses may be chosen; those are taken that are in
proportion to what each layer's step can do to the output, which no others improve on.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
import xarray as xr

from trust import measurements as variables
from trust.activations import activation_curvature
from trust.claims.claim import Claim, Kind, Measurements, Premise
from trust.claims.premises import CHAIN, NO_BIASES, NONEXPANSIVE, SAME, ZERO_AT_ZERO, each_activation, told
from trust.claims.quantities import activations, agd_scale, lipschitz, log10, weights
from trust.modular_norm import (
    NormedModule,
    activation_module,
    composed,
    gradient_lipschitz,
    linear_module,
    modular_norm,
)

__all__ = ["MODULAR_SHARPNESS", "MODULAR_SHARPNESS_SCALED"]

_Array = npt.NDArray[np.float64]
_LEAST = 1e-9
"""In place of a norm of zero: bounds stay true with larger norms, and a module needs one."""


def _operator_norms(measurements: Measurements, name: variables.Variable) -> xr.DataArray:
    """‖·‖_{RMS→RMS} = √(d_{k−1}/d_k) ‖·‖₂ of each weight matrix (…, layer)."""
    own = weights(measurements)
    found: xr.DataArray = own[name] / agd_scale(own)
    return found


def _input_size(measurements: Measurements) -> xr.DataArray:
    """The largest ‖x‖_RMS of the sampled examples (checkpoint)."""
    inputs = int(weights(measurements)[variables.COLUMNS].values[0])
    return measurements[variables.INPUT_NORM].max("example", skipna=False) / inputs**0.5


def _loss_derivatives(measurements: Measurements) -> tuple[xr.DataArray, float]:
    """σ (checkpoint), the mean of ‖∂ℓ/∂f‖ over the examples, in the dual of the RMS norm, and τ for ∂²ℓ/∂f².

    Of c outputs the dual norm is √c‖·‖₂. Cross-entropy: ‖p − y‖₂ ≤ √2 (1 − p_y), whose mean is at most 1 − e^{−𝓛} by
    Jensen, and ∂²ℓ ≤ ½ I. Squared errors: the mean norm of the residual is at most the root of its mean square.
    """
    outputs = int(weights(measurements)[variables.ROWS].values[-1])
    loss = measurements[variables.LOSS].isel(eta=0, drop=True).clip(min=0.0)  # another loss may be below
    name = measurements.attrs.get("loss")
    if name == "cross-entropy":
        return (2 * outputs) ** 0.5 * -np.expm1(-loss), outputs / 2
    if name == "half-square":
        return (2 * outputs * loss) ** 0.5, float(outputs)
    return 2 * loss**0.5, 2.0


def _network(
    steps: _Array, sizes: _Array, *, reach: float, betas: _Array, curvatures: list[float], widths: _Array
) -> tuple[NormedModule, float]:
    """The network as a module, and its modular norm of the step.

    Args:
        steps: each weight matrix's ‖d_k‖_{RMS→RMS}.
        sizes: at least its ‖W_k‖_{RMS→RMS}.
        reach: at least every ‖x‖_RMS.
        betas: the activations' Lipschitz constants.
        curvatures: and those of their derivatives.
        widths: of the activations.
    """
    sensitivities = sizes * betas
    reaches = reach * np.concatenate([[1.0], np.cumprod(sensitivities)[:-1]])
    behind = betas * np.concatenate([np.cumprod(sensitivities[::-1])[-2::-1], [1.0]])
    norms = np.maximum(reaches * steps, np.finfo(float).tiny)
    masses = np.maximum(norms * behind, np.finfo(float).tiny)
    modules, lengths = [], []
    for k in range(len(steps)):
        modules.append(linear_module(mass=masses[k], size=sizes[k], reach=reaches[k]))
        modules.append(activation_module(lipschitz=betas[k], curvature=curvatures[k], width=int(widths[k])))
        lengths += [norms[k], 0.0]
    return composed(*modules), modular_norm(lengths, modules)


def _bound(measurements: Measurements, *, least: float) -> xr.DataArray:
    """log10 of (σα + τ)‖d‖² (checkpoint), with norms of weights and inputs of ``least`` at least.

    +inf where an activation or its curvature is not known, or too large for a float.
    """
    own, names, betas = weights(measurements), activations(measurements), lipschitz(measurements)
    slope, curvature = _loss_derivatives(measurements)
    curvatures = [np.inf] if names is None else [activation_curvature(name) for name in names]
    if betas is None or not np.isfinite(curvatures).all():
        return xr.full_like(slope, np.inf)

    def of_one(steps: _Array, sizes: _Array, reach: float, slope: float) -> float:
        if not np.isfinite([*steps, *sizes, reach, slope]).all():
            return np.nan
        with np.errstate(over="ignore", invalid="ignore"):
            whole, size = _network(
                steps,
                np.maximum(sizes, least),
                reach=max(reach, least),
                betas=np.maximum(betas.values, _LEAST),
                curvatures=curvatures,
                widths=own[variables.ROWS].values,
            )
            found = gradient_lipschitz(whole, slope=slope, curvature=curvature) * size**2
        return np.inf if np.isnan(found) else float(found)

    found = xr.apply_ufunc(
        of_one,
        _operator_norms(measurements, variables.DIRECTION_OPERATOR_NORM),
        _operator_norms(measurements, variables.OPERATOR_NORM),
        _input_size(measurements),
        slope,
        input_core_dims=[["layer"], ["layer"], [], []],
        vectorize=True,
    )
    return log10(found)


def _allowance(measurements: Measurements) -> xr.DataArray:
    """Of two derivatives in the working precision: a thousand times its rounding."""
    rounding = 1e3 * float(measurements.attrs.get("epsilon", 2.0**-52))
    return xr.full_like(measurements[variables.CURVATURE], np.log10(1 + rounding))


def _known_loss(measurements: Measurements) -> xr.DataArray:
    loss = measurements.attrs.get("loss")
    return told(measurements, None if loss is None else loss in ("cross-entropy", "half-square", "mse"))


def _all_examples(measurements: Measurements) -> xr.DataArray:
    """Where they are not, nobody knows how large the others are."""
    whole = measurements.sizes["example"] >= measurements.attrs.get("number_of_examples", np.inf)
    return told(measurements, True if whole else None)


def _in_ball(measurements: Measurements) -> xr.DataArray:
    sizes = _operator_norms(measurements, variables.OPERATOR_NORM).max("layer", skipna=False)
    largest = sizes.clip(min=_input_size(measurements))
    return (largest <= 1 + SAME).astype(float).where(largest.notnull())


_SMOOTH = Premise(
    "smooth",
    "φ_k' is Lipschitz with a known constant: no kink",
    each_activation(lambda name: np.isfinite(activation_curvature(name))),
)
_LOSS = Premise("known loss", "the loss is cross-entropy of labels, mse or half-square", _known_loss)
_ALL_EXAMPLES = Premise(
    "all inputs",
    "the norm of every input is known",
    _all_examples,
    (variables.INPUT_NORM,),
    "`samples` with all examples",
)
_NEEDS = (
    variables.CURVATURE,
    variables.DIRECTION_OPERATOR_NORM,
    variables.OPERATOR_NORM,
    variables.INPUT_NORM,
    variables.LOSS,
)
_sharpness = partial(
    Claim,
    kind=Kind.LEMMA,
    left="|𝓛''(0)| = |dᵀHd| along the slice",
    measured=lambda measurements: log10(abs(measurements[variables.CURVATURE])),
    needs=_NEEDS,
    add="the second derivative and the ladder (leave out `curvature=None` and `ladder=False`)",
    log10_allowance=_allowance,
    subject="loss",
    proved=True,
)

MODULAR_SHARPNESS = _sharpness(
    id="modular-sharpness",
    source="Large et al., Scalable Optimization in the Modular Norm, 2024 (arXiv 2405.14813): smoothness of a loss",
    statement="|dᵀHd| ≤ (σα + τ)‖d‖², ‖·‖ the modular norm and α by recursion over the layers",
    formula=r"|d^{\mathsf{T}} H d| \le (\sigma \alpha + \tau) \|d\|^2",
    bound=partial(_bound, least=1.0),
    premises=(
        CHAIN,
        NO_BIASES,
        ZERO_AT_ZERO,
        NONEXPANSIVE,
        _SMOOTH,
        _LOSS,
        _ALL_EXAMPLES,
        Premise(
            "unit ball",
            "√(d_{k−1}/d_k) ‖W_k‖₂ ≤ 1 in every layer, and ‖x‖₂ ≤ √d_0",
            _in_ball,
            (variables.OPERATOR_NORM, variables.INPUT_NORM),
        ),
    ),
    number=62,
)

MODULAR_SHARPNESS_SCALED = _sharpness(
    id="modular-sharpness-scaled",
    source="this toolkit: the same with the norms that weights and inputs have",
    statement="|dᵀHd| ≤ (σα + τ)‖d‖², each layer's norm scaled by what reaches it, sensitivities as they are",
    formula=r"|d^{\mathsf{T}} H d| \le (\sigma \alpha + \tau) \|d\|^2",
    bound=partial(_bound, least=_LEAST),
    premises=(CHAIN, NO_BIASES, ZERO_AT_ZERO, _SMOOTH, _LOSS, _ALL_EXAMPLES),
    number=63,
)

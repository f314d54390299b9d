"""Premises that several claims share: of the network, its activations, its data, and the sizes of weights and steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import xarray as xr

from trust import measurements as variables
from trust.activations import activation, transmission
from trust.claims.claim import Measurements, Premise
from trust.claims.quantities import (
    activation_names,
    agd_scale,
    condition_number,
    cos_theta,
    depth,
    map_factors,
    perturbed,
    structure,
    uses,
    weights,
)

__all__ = [
    "BLOCKS",
    "CHAIN",
    "DESCENT",
    "EQUAL_SIGNS",
    "INJECTIVE",
    "KAPPA",
    "LAYERS",
    "LINEAR",
    "LIPSCHITZ",
    "NONEXPANSIVE",
    "NO_BIASES",
    "ORTHOGONAL",
    "ORTHOGONAL_COSINE",
    "RELU",
    "SAME",
    "SCALED_DATA",
    "SCALED_STEP",
    "SCALED_WEIGHTS",
    "SMALL_RHO",
    "SQUARE_LOSS",
    "STEP_SIZE",
    "TRANSMISSION",
    "VALLEY",
    "ZERO_AT_ZERO",
    "each_activation",
    "told",
]

SAME = 1e-3
"""How far, relatively, a scaling may be off."""
ORTHOGONAL_COSINE = 1e-2
"""How large the cosine between residual and linearisation error may be."""


def _everywhere(measurements: Measurements, value: bool) -> xr.DataArray:
    """One truth for all checkpoints."""
    labels = measurements["checkpoint"]
    return xr.DataArray(np.full(labels.size, value), coords={"checkpoint": labels.values}, dims="checkpoint")


def told(measurements: Measurements, truth: bool | None) -> xr.DataArray:
    """One truth for all checkpoints: booleans, or NaN where the measurements cannot tell."""
    if truth is None:
        return xr.full_like(_everywhere(measurements, True), np.nan, dtype=float)
    return _everywhere(measurements, truth)


def _is_perceptron(measurements: Measurements) -> xr.DataArray:
    found = structure(measurements)
    return told(measurements, _unless_odd(measurements, None if found is None else found.is_perceptron))


def _is_blocks(measurements: Measurements) -> xr.DataArray:
    found = structure(measurements)
    known = found is not None and (found.blocks is not None or found.understood)
    truth = found is not None and found.blocks is not None if known else None
    return told(measurements, _unless_odd(measurements, truth))


def _is_chain(measurements: Measurements) -> xr.DataArray:
    found = structure(measurements)
    return told(measurements, _unless_odd(measurements, None if found is None else found.is_chain))


def _unless_odd(measurements: Measurements, truth: bool | None) -> bool | None:
    """What else tells: a matrix that is used twice, the attributes of results without a structure."""
    if max(uses(measurements), default=1) > 1:
        return False
    if truth is not None:
        return truth
    attributes = measurements.attrs
    norm = attributes.get("norm", "unknown")
    if attributes.get("residual") == "true" or norm not in ("none", "unknown"):
        return False
    if "structure" in attributes:
        return None
    kind, plain = attributes.get("architecture"), attributes.get("residual") == "false" and norm == "none"
    return True if kind == "perceptron" and plain else False if kind == "conv" else None


def _has_no_biases(measurements: Measurements) -> xr.DataArray:
    return told(measurements, {"true": False, "false": True}.get(measurements.attrs.get("biases", "")))


def _covers(measurements: Measurements) -> xr.DataArray:
    """Whether κ covers every W̃_k at η: by its definition where they were measured, and else by Weyl.

    |σ(W̃) − σ(W)| ≤ ‖ΔW‖₂ for the largest and the smallest singular value bounds κ(W̃) from above: κ covers it
    (1), or the frozen spectra cannot tell (NaN).
    """
    own = perturbed(weights(measurements))
    kappa = condition_number(measurements)
    if variables.PERTURBED_CONDITION_NUMBER in own:
        return kappa.notnull().where(kappa.notnull())
    if variables.PERTURBATION_SPECTRAL_NORM in own:
        size = own[variables.PERTURBATION_SPECTRAL_NORM]
    else:
        size = own[variables.ETA] * own[variables.DIRECTION_SPECTRAL_NORM].fillna(0.0)
    largest, smallest = (
        own[variables.SPECTRAL_NORM],
        own[variables.SPECTRAL_NORM] / own[variables.CONDITION_NUMBER],
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        upper = xr.where(smallest > size, (largest + size) / (smallest - size), np.inf)
    covered = (kappa >= upper).all("layer")
    return covered.astype(float).where(covered)


def _injective(measurements: Measurements) -> xr.DataArray:
    own = weights(measurements)
    return (
        (own[variables.ROWS] >= own[variables.COLUMNS]) & np.isfinite(own[variables.CONDITION_NUMBER])
    ).all("layer")


def _valley(measurements: Measurements) -> xr.DataArray:
    """J at layer l's input passes through layers l..L: once a width has grown, none after it may shrink."""
    own = weights(measurements)
    grows = (own[variables.ROWS] > own[variables.COLUMNS]).values
    shrinks = (own[variables.ROWS] < own[variables.COLUMNS]).values
    good = [not any(grows[k:place].any() for place in np.flatnonzero(shrinks)) for k in range(grows.size)]
    return _everywhere(measurements, True) & xr.DataArray(
        good, coords={"layer": own["layer"].values}, dims="layer"
    )


def _descends(measurements: Measurements) -> xr.DataArray:
    """A layer that moves although it has no gradient has no θ_l < 90°."""
    moves = (measurements[variables.PERTURBATION_NORM] > 0).any("eta")
    lost = (moves & measurements[variables.PERTURBATION_COSINE].isnull()).any("layer")
    return (cos_theta(measurements) > 0) & ~lost


def _step_size(measurements: Measurements) -> xr.DataArray:
    """r_l ≤ η but for the rounding of W̃ in float32."""
    own = perturbed(weights(measurements))
    return own[variables.RELATIVE_PERTURBATION] <= own[variables.ETA] * (1 + 1e-3)


def _all(truths: Iterable[bool | None]) -> bool | None:
    """Whether all hold; None where none is known to fail but one is unknown."""
    found = list(truths)
    return False if False in found else None if None in found else True


def each_activation(holds: Callable[[str], bool]) -> Callable[[Measurements], xr.DataArray]:
    """Whether something holds of every φ, by its name; NaN where it fails of none, and one is not known."""

    def check(measurements: Measurements) -> xr.DataArray:
        names = activation_names(measurements)
        return told(measurements, _all(None if name is None else holds(name) for name in names))

    return check


def _relu(measurements: Measurements) -> xr.DataArray:
    *hidden, last = activation_names(measurements)
    truths = [None if name is None else name == "relu" for name in hidden]
    return told(measurements, _all([*truths, None if last is None else last in ("relu", "identity")]))


def _nonexpansive(measurements: Measurements) -> xr.DataArray:
    names, maps = activation_names(measurements), map_factors(measurements)
    pairs = zip(names, maps, strict=True)
    truths = (None if name is None else transmission(name).beta * factor <= 1 for name, factor in pairs)
    return told(measurements, _all(truths))


def _linear(measurements: Measurements) -> xr.DataArray:
    plain = all(factor <= 1 for factor in map_factors(measurements))
    names = activation_names(measurements)
    truths = [None if name is None else name == "identity" and plain for name in names]
    return told(measurements, _all(truths))


def _square_loss(measurements: Measurements) -> xr.DataArray:
    """By its name; NaN where the measurements do not say which loss it was."""
    named = "loss" in measurements.attrs
    return _everywhere(measurements, measurements.attrs.get("loss") == "mse").astype(float).where(named)


def _equal_signs(measurements: Measurements) -> xr.DataArray:
    count = perturbed(measurements)[variables.OPPOSITE_SIGNS]
    return (count == 0).astype(float).where(count.notnull())


def _small_rho(measurements: Measurements) -> xr.DataArray:
    own = perturbed(weights(measurements))
    return (
        own[variables.PERTURBATION_OPERATOR_NORM] * depth(measurements) <= own[variables.OPERATOR_NORM]
    ).all("layer")


def _of_all_examples(holds: xr.DataArray, measurements: Measurements) -> xr.DataArray:
    """The same where it fails; where it holds for a part of the data alone, nobody can tell (NaN)."""
    sampled = measurements.sizes["example"] >= measurements.attrs.get("number_of_examples", 0)
    return holds.astype(float).where(sampled | ~holds.astype(bool))


def _scaled_data(measurements: Measurements) -> xr.DataArray:
    own = weights(measurements)
    wanted = {
        variables.INPUT_NORM: own[variables.COLUMNS].values[0],
        variables.TARGET_NORM: own[variables.ROWS].values[-1],
    }
    good = [abs(measurements[name] / float(size) ** 0.5 - 1) <= SAME for name, size in wanted.items()]
    return _of_all_examples(good[0] & good[1], measurements)


def _scaled_weights(measurements: Measurements) -> xr.DataArray:
    own = weights(measurements)
    return (abs(own[variables.OPERATOR_NORM] / agd_scale(own) - 1) <= SAME).all("layer")


def _scaled_step(measurements: Measurements) -> xr.DataArray:
    """Whether ‖ΔW_k‖₂/√(d_k/d_{k−1}) is the same for all k: η/L."""
    own = perturbed(weights(measurements))
    share = own[variables.PERTURBATION_OPERATOR_NORM] / agd_scale(own)
    return (share >= share.max("layer") * (1 - SAME)).all("layer")


def _orthogonal(measurements: Measurements) -> xr.DataArray:
    cosine = perturbed(measurements)[variables.LINEARISATION_COSINE]
    holds = _of_all_examples(abs(cosine) <= ORTHOGONAL_COSINE, measurements)
    return holds.where(cosine.notnull())


_READABLE = "a network whose forward pass can be followed (docs/how-to/other-networks.md)"
_KNOWN = "activations that are known (docs/how-to/other-networks.md)"

CHAIN = Premise(
    "plain chain",
    "f is a multilayer perceptron: each matrix is used once, nothing is skipped, normalised, convolved or pooled",
    _is_perceptron,
    add=_READABLE,
)
BLOCKS = Premise(
    "chain of layers or blocks",
    "f is made of layers φ(Wh + b) and residual blocks h + φ(Wh + b), one after another, each matrix used once: nothing"
    " is normalised, convolved or pooled",
    _is_blocks,
    add=_READABLE,
)
LAYERS = Premise(
    "chain of layers",
    "matrices or convolutions one after another, each used once, φ_k an elementwise function with fixed maps"
    " (pooling) behind it: nothing is skipped or normalised",
    _is_chain,
    add=_READABLE,
)
NO_BIASES = Premise("no biases", "no layer has a bias", _has_no_biases, add=_READABLE)
TRANSMISSION = Premise(
    "transmission",
    "φ_k(0) = 0 and α_k‖x − y‖ ≤ ‖φ_k(x) − φ_k(y)‖ ≤ β_k‖x − y‖ with α_k > 0",
    each_activation(lambda name: activation(name).zero_at_zero and transmission(name).alpha > 0),
    add=_KNOWN,
)
KAPPA = Premise(
    "kappa", "κ ≥ the condition number of every W_k, W̃_k and ΔW_k", _covers, add="`spectra='slice'`"
)
INJECTIVE = Premise(
    "injective", "every W_k is injective (no layer is narrower than the one before)", _injective
)
VALLEY = Premise("valley widths", "from layer l on the widths shrink up to some layer and then grow", _valley)
DESCENT = Premise(
    "descent direction",
    "θ = max_l θ_l < 90°",
    _descends,
    (variables.PERTURBATION_COSINE, variables.PERTURBATION_NORM),
)
STEP_SIZE = Premise(
    "step size", "r_l ≤ η for every weight matrix", _step_size, (variables.RELATIVE_PERTURBATION,)
)
LIPSCHITZ = Premise(
    "Lipschitz",
    "‖φ_k(x) − φ_k(y)‖ ≤ β_k‖x − y‖ with a known β_k",
    each_activation(lambda name: np.isfinite(transmission(name).beta)),
    add=_KNOWN,
)
NONEXPANSIVE = Premise("1-Lipschitz", "‖φ_k(x) − φ_k(y)‖ ≤ ‖x − y‖", _nonexpansive, add=_KNOWN)
ZERO_AT_ZERO = Premise(
    "φ(0) = 0", "φ_k(0) = 0", each_activation(lambda name: activation(name).zero_at_zero), add=_KNOWN
)
RELU = Premise(
    "ReLU", "φ is ReLU at every hidden layer; the last layer is linear or ReLU too", _relu, add=_KNOWN
)
LINEAR = Premise("linear", "φ is the identity at every layer", _linear, add=_KNOWN)
SMALL_RHO = Premise(
    "small ρ",
    "‖ΔW_k‖₂ ≤ ‖W_k‖₂/L for every k",
    _small_rho,
    (variables.PERTURBATION_OPERATOR_NORM, variables.OPERATOR_NORM),
)
EQUAL_SIGNS = Premise(
    "equal signs",
    "no weight and no bias has opposite signs in W and W̃",
    _equal_signs,
    (variables.OPPOSITE_SIGNS,),
)
SQUARE_LOSS = Premise("square loss", "𝓛 is the mean squared error", _square_loss)
SCALED_DATA = Premise(
    "scaled data",
    "‖x‖ = √d_0 and ‖y‖ = √d_L",
    _scaled_data,
    (variables.INPUT_NORM, variables.TARGET_NORM),
    "`samples` with all examples",
)
SCALED_WEIGHTS = Premise(
    "scaled weights", "‖W_k‖₂ = √(d_k/d_{k−1})", _scaled_weights, (variables.OPERATOR_NORM,)
)
SCALED_STEP = Premise(
    "scaled step",
    "‖ΔW_k‖₂ = √(d_k/d_{k−1}) η/L for every k",
    _scaled_step,
    (variables.PERTURBATION_OPERATOR_NORM,),
)
ORTHOGONAL = Premise(
    "orthogonal",
    "the linearisation error is orthogonal to the residual f − y",
    _orthogonal,
    (variables.LINEARISATION_COSINE,),
    "`samples` with all examples",
)

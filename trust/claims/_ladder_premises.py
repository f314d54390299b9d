"""Premises of the bounds on the ladder: about activations, sizes of steps, and scaled data."""

from __future__ import annotations

from collections.abc import Callable

import xarray as xr

from trust.activations import activation, transmission
from trust.claims.claim import Measurements, Premise
from trust.claims.premises import everywhere
from trust.claims.quantities import activations, agd_scale, depth, perturbed, weights

__all__ = [
    "LINEAR",
    "LIPSCHITZ",
    "ORTHOGONAL",
    "ORTHOGONAL_COSINE",
    "RELU",
    "SAME",
    "SCALED_DATA",
    "SCALED_STEP",
    "SCALED_WEIGHTS",
    "SMALL_RHO",
    "SQUARE_LOSS",
    "ZERO_AT_ZERO",
]

SAME = 1e-3
"""How far, relatively, a scaling may be off."""
ORTHOGONAL_COSINE = 1e-2
"""How large the cosine between residual and linearisation error may be."""


def _each_activation(holds: Callable[[str], bool]) -> Callable[[Measurements], xr.DataArray]:
    def check(measurements: Measurements) -> xr.DataArray:
        names = activations(measurements)
        return everywhere(measurements, names is not None and all(holds(name) for name in names))

    return check


def _relu(measurements: Measurements) -> xr.DataArray:
    names = activations(measurements)
    known = names is not None and set(names[:-1]) <= {"relu"} and names[-1] in ("relu", "identity")
    return everywhere(measurements, known)


def _square_loss(measurements: Measurements) -> xr.DataArray:
    """By its name; NaN where the measurements do not say which loss it was."""
    named = "loss" in measurements.attrs
    return everywhere(measurements, measurements.attrs.get("loss") == "mse").astype(float).where(named)


def _small_rho(measurements: Measurements) -> xr.DataArray:
    own = perturbed(weights(measurements))
    return (own["perturbation_operator_norm"] * depth(measurements) <= own["operator_norm"]).all("layer")


def _of_all_examples(holds: xr.DataArray, measurements: Measurements) -> xr.DataArray:
    """The same where it fails; where it holds for a part of the data alone, nobody can tell (NaN)."""
    sampled = measurements.sizes["example"] >= measurements.attrs.get("number_of_examples", 0)
    return holds.astype(float).where(sampled | ~holds.astype(bool))


def _scaled_data(measurements: Measurements) -> xr.DataArray:
    own = weights(measurements)
    wanted = {"input_norm": own["columns"].values[0], "target_norm": own["rows"].values[-1]}
    good = [abs(measurements[name] / float(size) ** 0.5 - 1) <= SAME for name, size in wanted.items()]
    return _of_all_examples(good[0] & good[1], measurements)


def _scaled_weights(measurements: Measurements) -> xr.DataArray:
    own = weights(measurements)
    return (abs(own["operator_norm"] / agd_scale(own) - 1) <= SAME).all("layer")


def _scaled_step(measurements: Measurements) -> xr.DataArray:
    """Whether ‖ΔW_k‖₂/√(d_k/d_{k−1}) is the same for all k: η/L."""
    own = perturbed(weights(measurements))
    share = own["perturbation_operator_norm"] / agd_scale(own)
    return (share >= share.max("layer") * (1 - SAME)).all("layer")


def _orthogonal(measurements: Measurements) -> xr.DataArray:
    cosine = perturbed(measurements)["linearisation_cosine"]
    holds = _of_all_examples(abs(cosine) <= ORTHOGONAL_COSINE, measurements)
    return holds.where(cosine.notnull())


LIPSCHITZ = Premise(
    "1-Lipschitz", "|φ_k(x) − φ_k(y)| ≤ |x − y|", _each_activation(lambda name: transmission(name).beta <= 1)
)
ZERO_AT_ZERO = Premise("φ(0) = 0", "φ_k(0) = 0", _each_activation(lambda name: activation(name).zero_at_zero))
RELU = Premise("ReLU", "φ is ReLU at every hidden layer; the last layer is linear or ReLU too", _relu)
LINEAR = Premise(
    "linear", "φ is the identity at every layer", _each_activation(lambda name: name == "identity")
)
SMALL_RHO = Premise(
    "small ρ", "‖ΔW_k‖₂ ≤ ‖W_k‖₂/L for every k", _small_rho, ("perturbation_operator_norm", "operator_norm")
)
SQUARE_LOSS = Premise("square loss", "𝓛 is the mean squared error", _square_loss)
SCALED_DATA = Premise(
    "scaled data",
    "‖x‖ = √d_0 and ‖y‖ = √d_L",
    _scaled_data,
    ("input_norm", "target_norm"),
    "--samples with all examples",
)
SCALED_WEIGHTS = Premise("scaled weights", "‖W_k‖₂ = √(d_k/d_{k−1})", _scaled_weights, ("operator_norm",))
SCALED_STEP = Premise(
    "scaled step", "‖ΔW_k‖₂ = √(d_k/d_{k−1}) η/L for every k", _scaled_step, ("perturbation_operator_norm",)
)
ORTHOGONAL = Premise(
    "orthogonal",
    "the linearisation error is orthogonal to the residual f − y",
    _orthogonal,
    ("linearisation_cosine",),
    "--samples with all examples",
)

"""Premises that several claims share."""

from __future__ import annotations

import numpy as np
import xarray as xr

from trust.activations import activation, transmission
from trust.claims.claim import Measurements, Premise
from trust.claims.quantities import activations, condition_number, cos_theta, perturbed, weights

__all__ = [
    "CHAIN",
    "DESCENT",
    "INJECTIVE",
    "KAPPA",
    "NO_BIASES",
    "STEP_SIZE",
    "TRANSMISSION",
    "VALLEY",
    "everywhere",
]


def everywhere(measurements: Measurements, value: bool) -> xr.DataArray:
    """One truth for all checkpoints."""
    labels = measurements["checkpoint"]
    return xr.DataArray(np.full(labels.size, value), coords={"checkpoint": labels.values}, dims="checkpoint")


def _is_chain(measurements: Measurements) -> xr.DataArray:
    attributes = measurements.attrs
    plain = attributes.get("architecture") == "perceptron" and attributes.get("residual") == "false"
    return everywhere(measurements, plain and attributes.get("norm") == "none")


def _has_no_biases(measurements: Measurements) -> xr.DataArray:
    return everywhere(measurements, measurements.attrs.get("biases") == "false")


def _transmits(measurements: Measurements) -> xr.DataArray:
    names = activations(measurements)
    if names is None:
        return everywhere(measurements, False)
    return everywhere(
        measurements, all(activation(n).zero_at_zero and transmission(n).alpha > 0 for n in names)
    )


def _covers(measurements: Measurements) -> xr.DataArray:
    """Whether κ covers every W̃_k at η: by its definition where they were measured, and else by Weyl.

    |σ(W̃) − σ(W)| ≤ ‖ΔW‖₂ for the largest and the smallest singular value bounds κ(W̃) from above: κ covers it
    (1), or the frozen spectra cannot tell (NaN).
    """
    own = perturbed(weights(measurements))
    kappa = condition_number(measurements)
    if "perturbed_condition_number" in own:
        return kappa.notnull().where(kappa.notnull())
    if "perturbation_spectral_norm" in own:
        size = own["perturbation_spectral_norm"]
    else:
        size = own["eta"] * own["direction_spectral_norm"].fillna(0.0)
    largest, smallest = own["spectral_norm"], own["spectral_norm"] / own["condition_number"]
    with np.errstate(divide="ignore", invalid="ignore"):
        upper = xr.where(smallest > size, (largest + size) / (smallest - size), np.inf)
    covered = (kappa >= upper).all("layer")
    return covered.astype(float).where(covered)


def _injective(measurements: Measurements) -> xr.DataArray:
    own = weights(measurements)
    return ((own["rows"] >= own["columns"]) & np.isfinite(own["condition_number"])).all("layer")


def _valley(measurements: Measurements) -> xr.DataArray:
    """J at layer l's input passes through layers l..L: once a width has grown, none after it may shrink."""
    own = weights(measurements)
    grows = (own["rows"] > own["columns"]).values
    shrinks = (own["rows"] < own["columns"]).values
    good = [not any(grows[k:place].any() for place in np.flatnonzero(shrinks)) for k in range(grows.size)]
    return everywhere(measurements, True) & xr.DataArray(
        good, coords={"layer": own["layer"].values}, dims="layer"
    )


def _descends(measurements: Measurements) -> xr.DataArray:
    """A layer that moves although it has no gradient has no θ_l < 90°."""
    moves = (measurements["perturbation_norm"] > 0).any("eta")
    lost = (moves & measurements["perturbation_cosine"].isnull()).any("layer")
    return (cos_theta(measurements) > 0) & ~lost


def _step_size(measurements: Measurements) -> xr.DataArray:
    """r_l ≤ η but for the rounding of W̃ in float32."""
    own = perturbed(weights(measurements))
    return own["relative_perturbation"] <= own["eta"] * (1 + 1e-3)


CHAIN = Premise(
    "plain chain", "f is a multilayer perceptron without residual connections and norm layers", _is_chain
)
NO_BIASES = Premise("no biases", "no layer has a bias", _has_no_biases)
TRANSMISSION = Premise(
    "transmission", "φ_k(0) = 0 and α_k‖x − y‖ ≤ ‖φ_k(x) − φ_k(y)‖ ≤ β_k‖x − y‖ with α_k > 0", _transmits
)
KAPPA = Premise(
    "kappa", "κ ≥ the condition number of every W_k, W̃_k and ΔW_k", _covers, add="--spectra slice"
)
INJECTIVE = Premise(
    "injective", "every W_k is injective (no layer is narrower than the one before)", _injective
)
VALLEY = Premise("valley widths", "from layer l on the widths shrink up to some layer and then grow", _valley)
DESCENT = Premise(
    "descent direction", "θ = max_l θ_l < 90°", _descends, ("perturbation_cosine", "perturbation_norm")
)
STEP_SIZE = Premise("step size", "r_l ≤ η for every weight matrix", _step_size, ("relative_perturbation",))

"""Quantities that several claims read off the measurements, each in one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from trust.activations import modelled_transmission, transmission
from trust.claims._claim import Measurements
from trust.distance import log10_deep_relative_trust

__all__ = [
    "EVIDENCE",
    "above_noise",
    "along_layers",
    "condition_number",
    "constant_at_small_eta",
    "cos_theta",
    "depth",
    "effective_constant",
    "log10",
    "log10_trust",
    "perturbed",
    "smallest_evident",
    "transmissions",
    "weights",
]

EVIDENCE = 10.0
"""A number is evidence where it is at least this many times its noise floor."""


def log10(values: xr.DataArray) -> xr.DataArray:
    """log10 with log10(0) = −inf, quietly; what is negative counts as 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return xr.apply_ufunc(np.log10, values.clip(min=0.0))


def weights(measurements: Measurements) -> Measurements:
    """The weight matrices alone: they count towards L."""
    return measurements.isel(layer=np.flatnonzero(measurements["is_weight"].values))


def perturbed(measurements: Measurements) -> Measurements:
    """Without η = 0, where every claim says 0 ≤ 0."""
    return measurements.isel(eta=np.flatnonzero(measurements["eta"].values > 0))


def depth(measurements: Measurements) -> int:
    """L, the number of weight matrices."""
    return int(measurements["is_weight"].sum())


def along_layers(function: Callable[..., Any], *arrays: xr.DataArray) -> xr.DataArray:
    """Apply a function of arrays whose last axis is the layer."""
    return xr.apply_ufunc(function, *arrays, input_core_dims=[["layer"] if "layer" in a.dims else [] for a in arrays])


def log10_trust(measurements: Measurements) -> xr.DataArray:
    """log10 D(r), r the weight matrices' relative perturbations as measured (checkpoint, eta)."""
    relative = weights(measurements)["relative_perturbation"]
    return along_layers(log10_deep_relative_trust, relative)


def above_noise(measurements: Measurements) -> xr.DataArray:
    """Whether a layer's gradient change is evidence: :data:`EVIDENCE` times its noise floor, and finite."""
    change = measurements["gradient_change"]
    return (change >= EVIDENCE * measurements["noise_floor"]) & np.isfinite(change)


def effective_constant(measurements: Measurements) -> xr.DataArray:
    """C_l(η) = ‖g̃_l − g_l‖/‖g_l‖ / D(r(η)); NaN at η = 0 and where it is not above the noise."""
    log_trust = log10_trust(measurements)
    constant = 10.0 ** (log10(measurements["gradient_change"]) - log_trust)
    return constant.where(above_noise(measurements) & (measurements["eta"] > 0))


def smallest_evident(values: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """The first value along ``eta`` that is not NaN, and its η (NaN where there is none)."""
    known = values.notnull()
    place = known.argmax("eta")
    some = known.any("eta")
    value = values.isel(eta=place).where(some)
    eta = values["eta"].isel(eta=place).where(some)
    return value.drop_vars("eta", errors="ignore"), eta.drop_vars("eta", errors="ignore")


def constant_at_small_eta(measurements: Measurements) -> xr.DataArray:
    """max over weight matrices of C_l at the smallest measurable η (checkpoint)."""
    return smallest_evident(effective_constant(weights(measurements)))[0].max("layer")


def cos_theta(measurements: Measurements) -> xr.DataArray:
    """cos θ for θ the largest angle between a layer's perturbation and its negative gradient (checkpoint).

    Layers that do not move, or have no gradient, have no angle.
    """
    return measurements["perturbation_cosine"].min("layer").clip(max=1.0)


def condition_number(measurements: Measurements) -> xr.DataArray:
    """κ: the largest condition number among the W_k, the ΔW_k and, where they were measured, the W̃_k.

    A layer that does not move has no ΔW_k whose conditioning could matter.
    """
    own = weights(measurements)
    moves = own["direction_spectral_norm"] > 0
    kappa = np.maximum(
        own["condition_number"].max("layer"), own["direction_condition_number"].where(moves).max("layer").fillna(1.0)
    )
    if "perturbed_condition_number" in own:
        kappa = np.maximum(kappa, own["perturbed_condition_number"].max(["layer", "eta"]))
    return kappa


def transmissions(measurements: Measurements, *, modelled: bool) -> tuple[xr.DataArray, xr.DataArray] | None:
    """α_k and β_k of each weight matrix's activation (layer), or None where an activation is not known.

    Args:
        measurements: with the coordinate ``activation``.
        modelled: use the paper's model of ReLU (α = β = 1/2) instead of its true constants (0 and 1).
    """
    own = weights(measurements)
    names = [str(name) for name in own["activation"].values]
    if not all(names):
        return None
    constants = [(modelled_transmission if modelled else transmission)(name) for name in names]
    if modelled and "relu" in names:  # the paper's perceptron has the nonlinearity at every layer, the last one too
        constants = [modelled_transmission("relu") if name == "identity" else c for name, c in zip(names, constants, strict=True)]
    template = own["layer"]
    alpha = xr.DataArray([c.alpha for c in constants], coords={"layer": template.values}, dims="layer")
    beta = xr.DataArray([c.beta for c in constants], coords={"layer": template.values}, dims="layer")
    return alpha, beta

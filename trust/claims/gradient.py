"""Models of the gradient's breakdown, and the lemma that turns breakdown into loss."""

from __future__ import annotations

import numpy as np
import xarray as xr

from trust.claims._claim import Claim, Measurements
from trust.claims._quantities import (
    above_noise,
    constant_at_small_eta,
    log10,
    log10_trust,
    perturbed,
    weights,
)

_PAPER = "Bernstein, Vahdat, Yue and Liu, NeurIPS 2020"


def _breakdown(measurements: Measurements) -> xr.DataArray:
    own = weights(measurements)
    return perturbed(log10(own["gradient_change"]).where(above_noise(own)).to_dataset(name="b"))["b"]


def _whole(values: xr.DataArray) -> xr.DataArray:
    """Euclidean norm over all layers, as one vector."""
    return (values**2).sum("layer", skipna=True) ** 0.5


def _whole_change(measurements: Measurements) -> xr.DataArray:
    change = log10(_whole(measurements["gradient_difference"]))
    return perturbed(change.where(above_noise(measurements).any("layer")).to_dataset(name="b"))["b"]


def euclidean_constant(measurements: Measurements) -> xr.DataArray:
    """log10 K: the largest ‖g̃ − g‖/‖ΔW‖ on the lower half of the measurable η, in log η (checkpoint)."""
    ratio = _whole_change(measurements) - log10(_whole(perturbed(measurements)["perturbation_norm"]))
    order = ratio.notnull().cumsum("eta")
    return ratio.where(order <= np.maximum(order.max("eta") // 2, 1)).max("eta")


def _euclidean(measurements: Measurements) -> xr.DataArray:
    return euclidean_constant(measurements) + log10(_whole(perturbed(measurements)["perturbation_norm"]))


def linearisation_error(measurements: Measurements) -> xr.DataArray:
    """𝓛(η) − 𝓛(0) − η 𝓛'(0): by how much the loss leaves its tangent (checkpoint, eta)."""
    loss = measurements["loss"]
    start = loss.isel(eta=0, drop=True)
    return loss - start - measurements["eta"] * measurements["slope_at_zero"]


def loss_noise(measurements: Measurements) -> xr.DataArray:
    """How much of :func:`linearisation_error` rounding alone can make: of both losses, and of the slope."""
    loss = abs(measurements["loss"])
    floor = np.maximum(measurements["loss_noise_floor"], measurements.attrs.get("epsilon", 2.0**-52))
    rounded = (loss + loss.isel(eta=0, drop=True)) * floor
    slope = abs(measurements["eta"] * measurements["slope_at_zero"]) * measurements["noise_floor"].max("layer")
    return rounded + slope


def _lemma1_measured(measurements: Measurements) -> xr.DataArray:
    error = linearisation_error(measurements)
    evident = abs(error) >= 10.0 * loss_noise(measurements)
    return perturbed(log10(error).where(evident).to_dataset(name="b"))["b"]


def lemma1_bound(measurements: Measurements) -> xr.DataArray:
    """Σ_l ‖ΔW_l‖ max_{t ≤ η} ‖g_l(t) − g_l‖, the maximum over the grid (checkpoint, eta)."""
    change = measurements["gradient_difference"]
    worst = xr.apply_ufunc(
        np.maximum.accumulate, change, input_core_dims=[["eta"]], output_core_dims=[["eta"]], kwargs={"axis": -1}
    )
    moved = measurements["perturbation_norm"]
    product = (moved * worst).where(moved > 0, 0.0)
    return product.sum("layer", skipna=False)


DEEP_RELATIVE_TRUST = Claim(
    id="deep-relative-trust",
    source=f"{_PAPER}, modelling assumption 1",
    statement="‖g̃_l − g_l‖_F / ‖g_l‖_F ≤ ∏_k (1 + r_k) − 1",
    left="gradient breakdown, layer by layer",
    measured=_breakdown,
    bound=lambda measurements: log10_trust(perturbed(measurements)),
    needs=("gradient_change",),
    log10_constant=lambda measurements: log10(constant_at_small_eta(measurements)),
    number=30,
)

LEMMA1 = Claim(
    id="lemma1",
    source=f"{_PAPER}, Lemma 1",
    statement="𝓛(W + ΔW) − 𝓛(W) + Σ_l ‖g_l‖‖ΔW_l‖ cos θ_l ≤ Σ_l ‖ΔW_l‖ max_t ‖g_l(W + tΔW) − g_l‖_F",
    left="loss above its tangent along the slice",
    measured=_lemma1_measured,
    bound=lambda measurements: perturbed(log10(lemma1_bound(measurements)).to_dataset(name="b"))["b"],
    needs=("gradient_difference", "slope_at_zero"),
    number=40,
)

EUCLIDEAN_TRUST = Claim(
    id="euclidean-trust",
    source=f"{_PAPER}, Section 1: the model that it argues against",
    statement="‖g̃ − g‖ ≤ K ‖ΔW‖, all parameters as one vector, K read off the smaller half of the measurable η",
    left="change of the whole gradient",
    measured=_whole_change,
    bound=_euclidean,
    needs=("gradient_difference", "perturbation_norm"),
    log10_constant=euclidean_constant,
    number=70,
)

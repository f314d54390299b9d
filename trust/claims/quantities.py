"""Quantities that several claims read off the measurements, each in one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from trust import measurements as variables
from trust.activations import KNOWN_ACTIVATIONS, modelled_transmission, transmission
from trust.claims.claim import Measurements
from trust.claims.remembering import once
from trust.distance import log10_deep_relative_trust
from trust.structure import Structure, parse_structure

__all__ = [
    "EVIDENCE",
    "above_noise",
    "activation_names",
    "activations",
    "agd_eta",
    "agd_scale",
    "along_layers",
    "at_small_eta",
    "beyond_noise",
    "change_allowance",
    "change_floor",
    "condition_number",
    "constant_at_small_eta",
    "cos_theta",
    "depth",
    "each_use",
    "effective_constant",
    "evident_change",
    "lipschitz",
    "log10",
    "log10_trust",
    "map_factors",
    "noise_floor",
    "output_change",
    "output_change_allowance",
    "output_triangle",
    "perturbed",
    "rounding_share",
    "slope_noise",
    "smallest_evident",
    "step_condition_number",
    "step_norm",
    "structure",
    "transmissions",
    "uses",
    "weights",
    "whole",
    "whole_change",
    "whole_noise",
]

_Labelled = TypeVar("_Labelled", xr.Dataset, xr.DataArray)

EVIDENCE = 10.0
"""A number is evidence where it is at least this many times its noise floor."""


def log10(values: xr.DataArray) -> xr.DataArray:
    """Base-10 logarithm, quietly −inf at 0; what is negative counts as 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return xr.apply_ufunc(np.log10, values.clip(min=0.0))


@once
def weights(measurements: _Labelled) -> _Labelled:
    """The weight matrices alone: they count towards L."""
    return measurements.isel(layer=_places(measurements[variables.IS_WEIGHT].values))


@once
def perturbed(measurements: _Labelled) -> _Labelled:
    """Without η = 0, where every claim says 0 ≤ 0."""
    return measurements.isel(eta=_places(measurements[variables.ETA].values > 0))


def _places(chosen: Any) -> Any:
    """Where it is true, as a slice if nothing lies between: that takes a view, no copy."""
    places = np.flatnonzero(chosen)
    if places.size and places[-1] - places[0] == places.size - 1:
        return slice(int(places[0]), int(places[-1]) + 1)
    return places


@once
def uses(measurements: Measurements) -> list[int]:
    """How often the forward pass uses each weight matrix; once where the measurements do not say."""
    own = weights(measurements)
    if variables.USES not in own.coords:
        return [1] * own.sizes["layer"]
    return [max(1, int(count)) for count in own[variables.USES].values]


def depth(measurements: Measurements) -> int:
    """L, the number of uses of weight matrices."""
    return sum(uses(measurements))


def each_use(values: xr.DataArray, measurements: Measurements) -> xr.DataArray:
    """Numbers of the weight matrices (…, layer) with one entry a use."""
    counts = uses(measurements)
    return (
        values.isel(layer=np.repeat(np.arange(len(counts)), counts)) if max(counts, default=1) > 1 else values
    )


def structure(measurements: Measurements) -> Structure | None:
    """What the network computes, step by step; None where the measurements do not say."""
    return parse_structure(str(measurements.attrs.get("structure", "")))


def along_layers(function: Callable[..., Any], *arrays: xr.DataArray) -> xr.DataArray:
    """Apply a function of arrays whose last axis is the layer; NaN wherever one of its numbers is NaN.

    The bound calculators refuse NaN, which measurements have where a run left something out or overflowed.
    """
    gaps = [array for array in arrays if np.isnan(array.values).any()]
    known = xr.DataArray(True)
    for array in gaps:
        known = known & (array.notnull().all("layer") if "layer" in array.dims else array.notnull())
    found: xr.DataArray = xr.apply_ufunc(
        function,
        *(array.where(known, 1.0) if gaps else array for array in arrays),  # 1 is in every argument's range
        input_core_dims=[["layer"] if "layer" in array.dims else [] for array in arrays],
    )
    return found.where(known) if gaps else found


@once
def log10_trust(measurements: Measurements) -> xr.DataArray:
    """log10 D(r), r the weight matrices' relative perturbations as measured, one a use (checkpoint, eta)."""
    relative = each_use(weights(measurements)[variables.RELATIVE_PERTURBATION], measurements)
    return along_layers(log10_deep_relative_trust, relative)


@once
def rounding_share(measurements: Measurements) -> xr.DataArray:
    """How much of the gradient's change may be rounding, by the float64 spot check, relative to it (checkpoint, eta).

    At the η that were checked the largest error of a layer relative to its change, of those whose change is beyond the
    noise floor: what rounding does it does to all layers, and a single one may be spared by chance. Between them a
    straight line in η, from 0 at η = 0 on; beyond the last as there. 0 where nothing was checked.
    """
    change, etas = measurements[variables.GRADIENT_CHANGE], measurements[variables.ETA].values
    if variables.GRADIENT_CHANGE_ERROR not in measurements:
        return xr.zeros_like(change.max("layer")).fillna(0.0).reset_coords(drop=True)
    beyond = change.where((change >= EVIDENCE * measurements[variables.NOISE_FLOOR]) & np.isfinite(change))
    share = (measurements[variables.GRADIENT_CHANGE_ERROR] / beyond.where(beyond > 0)).max("layer")
    return xr.apply_ufunc(
        lambda values: _between(etas, values),
        share,
        input_core_dims=[["eta"]],
        output_core_dims=[["eta"]],
        vectorize=True,
    ).reset_coords(drop=True)


def _between(etas: Any, values: Any) -> Any:
    """Values at some η, and straight lines between them."""
    known = ~np.isnan(values) & (etas > 0)
    return np.interp(etas, [0.0, *etas[known]], [0.0, *values[known]])


@once
def change_floor(measurements: Measurements) -> xr.DataArray:
    """What rounding alone does to each layer's gradient change at each η (checkpoint, eta, layer).

    The noise floor, which is that of η = 0, or what the float64 spot check tells of this η if that is more; NaN where
    the gradient is zero but for rounding.
    """
    beyond = rounding_share(measurements) * measurements[variables.GRADIENT_CHANGE]
    return measurements[variables.NOISE_FLOOR].clip(min=beyond.where(np.isfinite(beyond), 0.0))


def beyond_noise(values: xr.DataArray, measurements: Measurements) -> xr.DataArray:
    """Whether changes of the layers' gradients are evidence: at least :data:`EVIDENCE` times what rounding does there.

    What it does at η = 0 (the noise floor) and, by the spot check, at this η.
    """
    floor = measurements[variables.NOISE_FLOOR]
    return (values >= EVIDENCE * floor) & (rounding_share(measurements) <= 1 / EVIDENCE)


@once
def above_noise(measurements: Measurements) -> xr.DataArray:
    """Whether a layer's gradient change is evidence (:func:`beyond_noise`), and finite.

    A gradient that did not change at all is below any floor; one that was zero has no relative change.
    """
    change = measurements[variables.GRADIENT_CHANGE]
    return (change > 0) & beyond_noise(change, measurements) & np.isfinite(change)


def change_allowance(change: xr.DataArray, floor: xr.DataArray) -> xr.DataArray:
    """log10 of the factor by which noise can have raised a relative change ‖ã − a‖/‖a‖.

    Both of its terms err by ``floor`` times their norm, so the numerator by at most (2 + change) · floor.
    """
    return log10(1 + floor * (1 + 2 / change.where(change > 0)))


def evident_change(change: xr.DataArray, measurements: Measurements) -> xr.DataArray:
    """log10 of a relative change, NaN where rounding could have made it, its reference is zero, or it overflowed."""
    known = (
        (change > 0) & (change >= EVIDENCE * measurements[variables.OUTPUT_NOISE_FLOOR]) & np.isfinite(change)
    )
    return log10(change).where(known)


@once
def output_change(measurements: Measurements) -> xr.DataArray:
    """log10 of the relative output change ‖f̃(x) − f(x)‖/‖f(x)‖ (checkpoint, eta, example); NaN below the noise."""
    return evident_change(perturbed(measurements)[variables.OUTPUT_CHANGE], measurements)


@once
def output_change_allowance(measurements: Measurements) -> xr.DataArray:
    """By how much, in log10, noise can have raised :func:`output_change`."""
    return change_allowance(
        perturbed(measurements)[variables.OUTPUT_CHANGE], measurements[variables.OUTPUT_NOISE_FLOOR]
    )


@once
def output_triangle(measurements: Measurements) -> xr.DataArray:
    """log10 of 1 + ‖f̃(x)‖/‖f(x)‖: what the triangle inequality alone says of :func:`output_change`.

    NaN where a run did not measure it.
    """
    if variables.OUTPUT_GROWTH not in measurements:
        return xr.full_like(perturbed(measurements)[variables.OUTPUT_CHANGE], np.nan)
    return log10(1 + perturbed(measurements)[variables.OUTPUT_GROWTH])


@once
def effective_constant(measurements: Measurements) -> xr.DataArray:
    """C_l(η) = ‖g̃_l − g_l‖/‖g_l‖ / D(r(η)); NaN where it is not above the noise, or D is 0 or infinite."""
    log_trust = log10_trust(measurements)
    known = above_noise(measurements) & np.isfinite(log_trust) & (measurements[variables.ETA] > 0)
    return 10.0 ** (log10(measurements[variables.GRADIENT_CHANGE]) - log_trust).where(known)


def smallest_evident(values: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """The first value along ``eta`` that is not NaN, and its η (NaN where there is none)."""
    known = values.notnull()
    place = known.argmax("eta")
    some = known.any("eta")
    value = values.isel(eta=place).where(some)
    eta = values[variables.ETA].isel(eta=place).where(some)
    return value.drop_vars("eta", errors="ignore"), eta.drop_vars("eta", errors="ignore")


def at_small_eta(values: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """What is meant by "at η → 0": the value at η₀, and the η that it was read off; both NaN where there is none.

    One rule for all grids: the value at η₀ = :data:`trust.measurements.SMALL_ETA`, or where it is no evidence there
    (NaN) at the smallest η above at which it is. On a grid with evidence below η₀ only, at the smallest of those.
    """
    small = variables.small_eta_place(values[variables.ETA].values.tolist())
    usual = values.where(values[variables.ETA] >= values[variables.ETA][small])
    return smallest_evident(usual.where(usual.notnull().any("eta"), values))


@once
def constant_at_small_eta(measurements: Measurements) -> xr.DataArray:
    """The largest C_l at η → 0 of the tensors that move (checkpoint).

    Lemma 1 sums over everything that moves, so biases that move count too.
    """
    moves = (measurements[variables.PERTURBATION_NORM] > 0).any("eta")
    return at_small_eta(effective_constant(measurements))[0].where(moves).max("layer")


def cos_theta(measurements: Measurements) -> xr.DataArray:
    """The cosine of θ, the largest angle between a layer's step and its negative gradient (checkpoint).

    Biases that move count too. Layers that do not move, or have no gradient, have no angle.
    """
    return measurements[variables.PERTURBATION_COSINE].min("layer").clip(-1.0, 1.0)


def whole(values: xr.DataArray) -> xr.DataArray:
    """Euclidean norm over all layers, biases too, as one vector; NaN where a layer was not measured.

    Frozen parameters have no gradient to measure, and are no part of the vector.
    """
    if variables.TREATMENT in values.coords:
        values = values.isel(layer=np.flatnonzero(values[variables.TREATMENT].values != "left alone: frozen"))
    return (values**2).sum("layer", skipna=False) ** 0.5


def noise_floor(measurements: Measurements) -> xr.DataArray:
    """Each layer's noise floor; 1 where the gradient is zero but for rounding, for then all of it is noise."""
    return measurements[variables.NOISE_FLOOR].fillna(1.0)


@once
def whole_noise(measurements: Measurements) -> xr.DataArray:
    """How much of the whole gradient's change rounding alone can make (checkpoint, eta)."""
    start = whole(noise_floor(measurements) * measurements[variables.GRADIENT_NORM].isel(eta=0, drop=True))
    share = rounding_share(measurements)
    return start.clip(min=share * whole(measurements[variables.GRADIENT_DIFFERENCE]).fillna(0.0))


@once
def whole_change(measurements: Measurements) -> xr.DataArray:
    """log10 ‖g̃ − g‖, all layers as one vector; NaN where it is no evidence, or a layer was not measured."""
    change = whole(measurements[variables.GRADIENT_DIFFERENCE])
    evident = (change > 0) & (change >= EVIDENCE * whole_noise(measurements)) & np.isfinite(change)
    return perturbed(log10(change).where(evident))


@once
def step_norm(measurements: Measurements) -> xr.DataArray:
    """‖d_l‖_F of the direction, W(η) = W + ηd (checkpoint, layer).

    Read off the largest η, where rounding of W(η) to the working precision matters least.
    """
    return (
        perturbed(measurements)[variables.PERTURBATION_NORM] / perturbed(measurements)[variables.ETA]
    ).isel(eta=-1, drop=True)


@once
def slope_noise(measurements: Measurements) -> xr.DataArray:
    """How much of 𝓛'(0) = Σ⟨g_l, d_l⟩ rounding alone can make (checkpoint)."""
    floor = np.maximum(noise_floor(measurements), measurements.attrs.get("epsilon", 2.0**-52))
    gradient = measurements[variables.GRADIENT_NORM].isel(eta=0, drop=True)
    return (floor * gradient * step_norm(measurements)).sum("layer")


@once
def condition_number(
    measurements: Measurements, *, after: bool = True, realised: bool = True
) -> xr.DataArray:
    """κ: the largest condition number among the W_k and the ΔW_k, and where they were measured the W̃_k(η).

    A layer that does not move has no ΔW_k whose conditioning could matter.

    Args:
        measurements: with the spectra.
        after: whether the perturbed weights W̃_k(η) count; then κ depends on η.
        realised: whether the ΔW_k are those of the stored tensors at each η; else as η → 0, without rounding.
    """
    own = weights(measurements)
    step = step_condition_number(own, realised=realised)
    kappa = xr.where(step > own[variables.CONDITION_NUMBER], step, own[variables.CONDITION_NUMBER]).max(
        "layer"
    )
    if after and variables.PERTURBED_CONDITION_NUMBER in own:
        kappa = np.maximum(
            kappa, perturbed(own)[variables.PERTURBED_CONDITION_NUMBER].max("layer", skipna=False)
        )
    return kappa


@once
def step_condition_number(own: Measurements, *, realised: bool = True) -> xr.DataArray:
    """κ(ΔW_k), 1 for a layer that does not move: as realised at each η where that was measured, else κ(d_k)."""
    direct = own[variables.DIRECTION_CONDITION_NUMBER]
    if variables.PERTURBATION_CONDITION_NUMBER in own and (realised or bool(direct.isnull().all())):
        moved = perturbed(own)
        return moved[variables.PERTURBATION_CONDITION_NUMBER].where(
            moved[variables.PERTURBATION_NORM] > 0, 1.0
        )
    return direct.where(own[variables.DIRECTION_SPECTRAL_NORM] > 0, 1.0)


@once
def activation_names(measurements: Measurements) -> list[str | None]:
    """The name of each weight matrix's activation, None where it is not known."""
    names = [str(name) for name in weights(measurements)[variables.ACTIVATION].values]
    return [name if name.partition(":")[0] in KNOWN_ACTIVATIONS else None for name in names]


def activations(measurements: Measurements) -> list[str] | None:
    """The name of each weight matrix's activation, or None where one of them is not known."""
    known = [name for name in activation_names(measurements) if name is not None]
    return known if len(known) == weights(measurements).sizes["layer"] else None


def map_factors(measurements: Measurements) -> list[float]:
    """For each weight matrix the Lipschitz constant of the fixed maps (pooling) behind it; 1 where there are none."""
    found = structure(measurements)
    names = [str(name) for name in weights(measurements)["layer"].values]
    return [1.0 if found is None else found.factors.get(name, 1.0) for name in names]


@once
def transmissions(measurements: Measurements, *, modelled: bool) -> tuple[xr.DataArray, xr.DataArray] | None:
    """α_k and β_k of each weight matrix's activation (layer), or None where an activation is not known.

    Args:
        measurements: with the coordinate ``activation``.
        modelled: use the paper's model of ReLU (α = β = 1/2) instead of its true constants (0 and 1).
    """
    names = activations(measurements)
    if names is None:
        return None
    constants = [(modelled_transmission if modelled else transmission)(name) for name in names]
    if (
        modelled and "relu" in names
    ):  # the paper's perceptron has the nonlinearity at every layer, the last one too
        constants = [
            modelled_transmission("relu") if name == "identity" else c
            for name, c in zip(names, constants, strict=True)
        ]
    template = weights(measurements)["layer"]
    alpha = xr.DataArray([c.alpha for c in constants], coords={"layer": template.values}, dims="layer")
    beta = xr.DataArray([c.beta for c in constants], coords={"layer": template.values}, dims="layer")
    return alpha, beta


@once
def lipschitz(measurements: Measurements) -> xr.DataArray | None:
    """β_k, the Lipschitz constant of what follows each weight matrix (layer); None where one is not known.

    That is its activation's true constant, times those of the fixed maps (pooling) before the next matrix.
    """
    found = transmissions(measurements, modelled=False)
    return None if found is None else found[1] * np.array(map_factors(measurements))


def agd_scale(own: Measurements) -> xr.DataArray:
    """√(d_k/d_{k−1}) of each weight matrix (layer)."""
    return (own[variables.ROWS] / own[variables.COLUMNS]) ** 0.5


def agd_eta(measurements: Measurements) -> xr.DataArray:
    """The smallest η with ‖ΔW_k‖₂ ≤ √(d_k/d_{k−1}) η/L for every k (checkpoint, eta)."""
    own = perturbed(weights(measurements))
    share = own[variables.PERTURBATION_OPERATOR_NORM] / agd_scale(own)
    return depth(measurements) * share.max("layer", skipna=False)

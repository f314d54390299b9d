"""Claims as users write them: both sides on measurements alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import xarray as xr

from trust.claims import (
    CHAIN,
    NO_BIASES,
    Claim,
    log10,
    output_change,
    perturbed,
    weights,
)


def user_claim(bound: Callable[[xr.Dataset], xr.DataArray], **more: Any) -> Claim:
    common: dict[str, Any] = {
        "id": "mine",
        "source": "me",
        "statement": "‖f̃ − f‖/‖f‖ ≤ Σ r_k",
        "left": "relative output change",
        "measured": output_change,
        "bound": bound,
        "premises": (CHAIN, NO_BIASES),
        "needs": ("output_change", "relative_perturbation"),
    }
    return Claim(**{**common, **more})


def sum_of_steps(measurements: xr.Dataset) -> xr.DataArray:
    return log10(perturbed(weights(measurements))["relative_perturbation"].sum("layer"))


def spectral_claim(factor: float) -> Claim:
    def bound(measurements: xr.Dataset) -> xr.DataArray:
        own = perturbed(weights(measurements))
        sizes, steps = own["operator_norm"], own["perturbation_operator_norm"]
        return log10(factor * own["input_norm"] * ((sizes + steps).prod("layer") - sizes.prod("layer")))

    return user_claim(bound, measured=lambda m: log10(perturbed(m)["output_change"] * m["output_norm"]))

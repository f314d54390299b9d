"""The effective constant taken apart: what the Jacobians, the residuals and the mean over examples make of it."""

from __future__ import annotations

import numpy as np
import xarray as xr

from analysis.completion import completed
from trust import measurements as variables
from trust.claims.quantities import (
    along_layers,
    beyond_noise,
    effective_constant,
    log10,
    log10_trust,
    weights,
)
from trust.distance import log10_deep_relative_trust

__all__ = ["FACTORS", "split"]

FACTORS = ("single examples", "cancellation", "residuals")
"""What the sample's C is the product of: C_ex = Σ‖A_i‖ / (D Σ‖g_i‖), (‖ΣA_i‖ / Σ‖A_i‖)(Σ‖g_i‖ / ‖Σg_i‖), ‖v‖ / ‖A‖."""


def split(measurements: xr.Dataset) -> xr.Dataset | None:
    """The effective constant C = ‖v‖ / (‖g‖ D) of every layer in both its exact forms, where it was measured.

    With v = A + B the gradient's change, A that of the Jacobians with the residuals held, and D deep relative trust.
    A layer's numbers are NaN where its C is no evidence.

    Args:
        measurements: of a run, with the measure ``split``.

    Returns:
        Over (checkpoint, eta, layer), for the η at which it was measured: ``constant``, C_l; its signed parts
        ``jacobian_part`` ⟨A, v⟩/(‖v‖‖g‖D) and ``residual_part`` ⟨B, v⟩/(‖v‖‖g‖D), which add up to it;
        ``frozen_constant`` ‖A‖/(‖g‖D); ``sample_constant``, C of the split's examples by themselves, and
        ``log10_factor`` (factor, …), :data:`FACTORS`, which add up to its log10; ``example_constant`` (…, quantile)
        of single examples, ‖A_i‖/(‖g_i‖D); ``jacobian_constant``, the median over examples of Theorem 1b's own left
        side, J being from the layer's input, over [∏_{k≥l}(1 + r_k) − 1], NaN without ``--jacobian``;
        ``jacobian_evident``, ``residual_evident`` and ``sample_evident``, whether A, B and the examples' A_i are above
        the noise. The attribute ``small_eta`` is the η that speaks for η₀. None where the run did not measure it.
    """
    if variables.FROZEN_RESIDUAL_CHANGE not in measurements:
        return None
    known = measurements[variables.FROZEN_RESIDUAL_CHANGE].notnull().any(["checkpoint", "layer"])
    own = completed(measurements).isel(eta=np.flatnonzero(known.values))
    if not own.sizes["eta"]:
        return None
    trust = 10.0 ** log10_trust(own)
    constant = effective_constant(own)
    evident = constant.notnull()
    change = own[variables.GRADIENT_CHANGE].where(evident)
    frozen, residual, single, sample = (
        own[name].where(evident)
        for name in (
            variables.FROZEN_RESIDUAL_CHANGE,
            variables.RESIDUAL_CHANGE,
            variables.MEAN_EXAMPLE_CHANGE,
            variables.SAMPLE_GRADIENT_CHANGE,
        )
    )
    # ⟨A, v⟩ = (‖v‖² + ‖A‖² − ‖B‖²)/2, and so for B: without squares, which could overflow
    difference = (frozen - residual) / change * (frozen + residual)
    factors = [single / trust, *(own[n].where(evident) for n in _FACTORS)]
    found = {
        "constant": constant,
        "jacobian_part": (change + difference) / 2 / trust,
        "residual_part": (change - difference) / 2 / trust,
        "frozen_constant": frozen / trust,
        "sample_constant": sample / trust,
        "log10_factor": log10(xr.concat(factors, "factor", coords="minimal", compat="override")),
        "example_constant": own[variables.EXAMPLE_GRADIENT_CHANGE].where(evident) / trust,
        "jacobian_constant": _theorem1b(own),
    }
    flags = {"jacobian": frozen, "residual": residual, "sample": single}
    found |= {f"{name}_evident": beyond_noise(values, own) for name, values in flags.items()}
    order = ("factor", "checkpoint", "eta", "layer", "quantile")
    etas = own[variables.ETA].values.tolist()
    return (
        xr.Dataset(found)
        .assign_coords(factor=list(FACTORS))
        .transpose(*order, missing_dims="ignore")
        .assign_attrs(small_eta=etas[variables.small_eta_place(etas)])
    )


_FACTORS = (variables.SAMPLE_CANCELLATION, variables.SAMPLE_RESIDUAL_FACTOR)


def _theorem1b(own: xr.Dataset) -> xr.DataArray:
    """The median example's ‖J̃ − J‖/‖J‖ over [∏(1 + r_k) − 1]; J is from the *input* of layer l, so over l..L."""
    whole = own[variables.GRADIENT_CHANGE]
    if variables.JACOBIAN_CHANGE not in own:
        return xr.full_like(whole, np.nan)
    matrices = weights(own)
    relative = matrices[variables.RELATIVE_PERTURBATION]
    products = [
        along_layers(log10_deep_relative_trust, relative.isel(layer=slice(k, None)))
        for k in range(relative.sizes["layer"])
    ]
    product = xr.concat(products, "layer").assign_coords(layer=relative["layer"].values)
    median = matrices[variables.JACOBIAN_CHANGE].median("example", skipna=True)
    return (median / 10.0**product).reset_coords(drop=True).reindex(layer=whole["layer"].values)

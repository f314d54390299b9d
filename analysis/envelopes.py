"""A claim's two sides along the slice, ready to draw: the worst and the median measurement, and the bound."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import xarray as xr

from analysis.completion import completed
from analysis.verdicts import standing_of_premises
from trust import measurements as variables
from trust.claims import Claim, claims_of
from trust.claims.remembering import once

__all__ = ["distinct", "envelope", "find_envelopes"]

_ALIKE = 1e-9  # in log10: what two recursions to one bound may differ by


def envelope(measurements: xr.Dataset, claim: Claim) -> xr.Dataset | None:
    """Measured and bound in log10 over (checkpoint, eta) and, for a claim about layers, layer.

    Returns:
        ``log10_measured`` (the largest over examples), ``log10_measured_median`` and ``log10_bound`` (its
        largest likewise, where anything was measured), and ``premises_hold``: 1 where all premises do, 0 where
        one fails, else NaN. The attributes ``claim`` and ``subject`` say of what. None where the run did not
        measure what the claim speaks of.
    """
    measurements = completed(measurements)
    if any(name not in measurements for name in claim.needs):
        return None
    measured, bound = once(claim.measured)(measurements), once(claim.bound)(measurements)
    if "eta" not in measured.dims or measured.size == 0:  # of no example
        return None
    worst = middle = measured
    if "example" in measured.dims:
        worst, middle = measured.max("example"), measured.median("example")
    if "example" in bound.dims:  # NaN beyond the sample
        bound = _known(bound, measured).max("example")
    bound = xr.broadcast(bound, worst)[0].transpose(*worst.dims)
    found = xr.Dataset(
        {
            "log10_measured": worst,
            "log10_measured_median": middle,
            "log10_bound": bound,
            "premises_hold": standing_of_premises(measurements, claim, worst),
        }
    )
    found.attrs["claim"] = claim.id
    found.attrs["subject"] = claim.subject
    return found


def find_envelopes(
    measurements: xr.Dataset, claims: Iterable[Claim | str] | None = None, *, subject: str | None = None
) -> dict[str, xr.Dataset]:
    """For each claim's id its two sides; without those that the run did not measure, and without twins.

    Args:
        measurements: of a run.
        claims: whose; None for all that are installed.
        subject: only those that speak of it, such as ``function``; None for all.
    """
    measurements = completed(measurements)
    ladder = _common_examples(measurements)  # all rungs of the same examples
    chosen = claims_of(claims)
    pairs = {
        claim.id: envelope(ladder if claim.subject == "function" else measurements, claim)
        for claim in chosen
        if subject in (None, claim.subject)
    }
    return distinct({name: pair for name, pair in pairs.items() if pair is not None})


def distinct(envelopes: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """Without those that are another one again, as a residual rung is its namesake on a plain chain."""
    found: dict[str, xr.Dataset] = {}
    for name, own in envelopes.items():
        finite = np.isfinite(own["log10_bound"]).any()
        if not (finite and any(_alike(own, other) for other in found.values())):
            found[name] = own
    return found


def _alike(one: xr.Dataset, other: xr.Dataset) -> bool:
    return one.sizes == other.sizes and all(
        np.allclose(one[name].values, other[name].values, rtol=0, atol=_ALIKE, equal_nan=True)
        for name in one.data_vars
    )


def _common_examples(measurements: xr.Dataset) -> xr.Dataset:
    """The examples of which all bounds were measured: with patterns the first N, else all."""
    if variables.MARGIN not in measurements:
        return measurements
    known = measurements[variables.PATTERN_BOUND].notnull().any(["checkpoint", "eta"]).values
    return measurements.isel(example=np.flatnonzero(known)) if known.any() else measurements


def _known(bound: xr.DataArray, measured: xr.DataArray) -> xr.DataArray:
    """Without the examples where a relative bound is infinite and nothing was measured: where f(x) = 0."""
    finite = bound < np.inf
    return bound.where(finite | measured.notnull() | ~finite.any("example"))

"""The ladder: by how many orders of magnitude each simplification loosens a bound, and where its order inverts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from analysis.completion import completed
from analysis.verdicts import ROUNDING, standing_of_premises
from trust import measurements as variables
from trust.claims import Claim, all_claims, claims_of
from trust.claims.remembering import once

__all__ = ["CAUSES", "RUNGS", "Inversion", "inversions", "slack"]

MEASURED = "measured"
RUNGS = (MEASURED, "telescoped", "spectral-product", "theorem1-function-layerwise", "theorem1-function")
"""From the measured change upwards: each bound follows from the one before by giving something away."""
CAUSES = ("alignment", "data-independent norms", "conditioning and α", "one worst κ")
"""What is given away from each rung to the next."""
PATTERN, INACTIVE = "pattern-telescoped", "inactive units"
"""The rung below the telescoped one where a run measured it, and what is given away from it."""
_ORDER = (
    (PATTERN, "telescoped"),
    ("telescoped", "spectral-product"),
    ("theorem1-function-layerwise", "theorem1-function"),
)
"""Pairs of bounds of which the first is never above the second where the premises of both hold."""


@dataclass(frozen=True)
class Inversion:
    """A checkpoint at which the lower of two rungs lies above the upper one although all premises hold.

    Attributes:
        lower: a claim's id, or ``measured``.
        upper: a claim's id.
        checkpoint: label.
        points: at how many points (η and example) the order inverts.
        eta: where it inverts most.
        example: the same; None where neither side depends on the example.
        excess: log10(lower / upper) there.
    """

    lower: str
    upper: str
    checkpoint: str
    points: int
    eta: float
    example: int | None
    excess: float


def slack(measurements: xr.Dataset) -> xr.Dataset | None:
    """The gap between the measured change and Theorem 1 as published, shared out among the rungs between.

    Every rung is averaged over the same examples: those whose measured change is evidence and at which every
    rung is known. A rung that is infinite (or not known) at some examples only leaves these out; one that is
    so at all of them leaves out none.

    Returns:
        ``log10_rung`` (rung, checkpoint, eta), the mean of log10; ``examples`` (checkpoint, eta), over how many;
        ``share`` (cause, checkpoint, eta), the difference from each rung to the next in orders of magnitude: +inf
        on the way to an infinite rung, and NaN after it; ``total`` (checkpoint, eta), the whole gap, +inf where
        any rung is; ``finite_total``, the sum of the finite shares; ``premises_hold`` (rung, checkpoint, eta),
        whether they are known to. None where the run did not measure all that the rungs are made of.
    """
    measurements = completed(measurements)
    claims = all_claims()
    measured, *names = RUNGS
    causes = list(CAUSES)
    if all(name in measurements for name in claims[PATTERN].needs):
        names.insert(0, PATTERN)
        causes.insert(1, INACTIVE)
    rungs = [claims[name] for name in names]
    if any(name not in measurements for claim in rungs for name in claim.needs):
        return None
    sides = [once(rungs[0].measured)(measurements), *(once(claim.bound)(measurements) for claim in rungs)]
    values = xr.concat(xr.broadcast(*sides), dim="rung", coords="minimal", compat="override")
    values = values.transpose("rung", "checkpoint", "eta", "example").assign_coords(rung=[measured, *names])
    used = values.isel(rung=0, drop=True).notnull()
    for k in range(1, values.sizes["rung"]):
        used = used & _consistent(values.isel(rung=k, drop=True), used)
    with np.errstate(invalid="ignore"):
        means = values.where(used).mean("example", skipna=True)
    holds = [xr.ones_like(means.isel(rung=0, drop=True), dtype=bool)]
    holds += [standing_of_premises(measurements, claim, holds[0]) == 1 for claim in rungs]
    share = _shares(means, causes)
    infinite = (means == np.inf).any("rung")
    gap = means.isel(rung=-1, drop=True) - means.isel(rung=0, drop=True)
    finite = share.where(np.isfinite(share))
    known = means.isel(rung=0, drop=True).notnull()
    return xr.Dataset(
        {
            "log10_rung": means,
            "examples": used.sum("example"),
            "share": share,
            "total": gap.where(~infinite, np.inf).where(known),
            "finite_total": finite.sum("cause").where(known),
            "premises_hold": xr.concat(holds, dim="rung").assign_coords(rung=values["rung"].values),
        }
    )


def _consistent(values: xr.DataArray, used: xr.DataArray) -> xr.DataArray:
    """Where a rung is finite; or anywhere, if it is infinite or not known at all the examples in use."""
    odd = ~(abs(values) < np.inf)
    return ~odd | odd.where(used, True).all("example")


def _shares(means: xr.DataArray, causes: list[str]) -> xr.DataArray:
    """Differences of consecutive rungs; nothing can be told beyond infinity."""
    upper = means.isel(rung=slice(1, None)).rename(rung="cause").assign_coords(cause=causes)
    lower = means.isel(rung=slice(None, -1)).rename(rung="cause").assign_coords(cause=causes)
    with np.errstate(invalid="ignore"):
        share = upper - lower
    beyond = (lower == np.inf).cumsum("cause") > 0
    return share.where(~beyond)


def inversions(measurements: xr.Dataset, claims: Iterable[Claim | str] | None = None) -> list[Inversion]:
    """Where the ladder's order inverts, which no theorem allows: one entry a pair of rungs and checkpoint.

    The telescoped bound must not be above the spectral product, nor the layerwise form of Theorem 1 above the
    published one, nor the measured change above any proved bound on the function; each only where the premises of
    all claims involved hold, and beyond what noise (for bounds: rounding) allows.

    Args:
        measurements: of a run.
        claims: to be checked; by default all that are installed.
    """
    measurements = completed(measurements)
    chosen = claims_of(claims)
    own = {claim.id: claim for claim in chosen if claim.subject == "function"}
    own = {name: c for name, c in own.items() if all(need in measurements for need in c.needs)}
    bounds = {name: once(claim.bound)(measurements) for name, claim in own.items()}
    found: list[Inversion] = []
    for lower, upper in _ORDER:
        if lower in own and upper in own:
            one, other = own[lower], own[upper]
            excess = _excess(measurements, bounds[lower], bounds[upper], [one, other])
            found += _worst(lower, upper, excess, xr.zeros_like(excess))
    for name, claim in own.items():
        if not claim.proved:
            continue  # then it is the claim that is in doubt, and its verdict says so
        excess = _excess(measurements, once(claim.measured)(measurements), bounds[name], [claim])
        allowance = xr.zeros_like(excess)
        if claim.log10_allowance is not None:
            allowance = allowance + once(claim.log10_allowance)(measurements).fillna(0.0)
        found += _worst(MEASURED, name, excess, allowance)
    return found


def _excess(
    measurements: xr.Dataset, lower: xr.DataArray, upper: xr.DataArray, claims: list[Claim]
) -> xr.DataArray:
    """log10(lower / upper) where both are known and all premises hold, −inf elsewhere."""
    lower, upper = xr.broadcast(lower, upper)
    with np.errstate(invalid="ignore"):
        excess = (lower - upper).where(upper < np.inf, -np.inf).fillna(-np.inf)
    for claim in claims:
        excess = excess.where(standing_of_premises(measurements, claim, excess) == 1, -np.inf)
    return excess


def _worst(lower: str, upper: str, excess: xr.DataArray, allowance: xr.DataArray) -> list[Inversion]:
    found = []
    wrong = excess > allowance + ROUNDING
    for place, label in enumerate(excess["checkpoint"].values):
        points = wrong.isel(checkpoint=place)
        if bool(points.any()):
            one = excess.isel(checkpoint=place).where(points, -np.inf)
            at = one.argmax(list(one.dims))
            example = int(one["example"][at["example"]]) if "example" in one.coords else None
            eta = float(one[variables.ETA][at["eta"]])
            found.append(
                Inversion(lower, upper, str(label), int(points.sum()), eta, example, float(one.max()))
            )
    return found

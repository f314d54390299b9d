"""Where a loss gives way as weights are rounded, pruned or made noisy, and which number tells it beforehand.

Levels of different kinds are put on one axis: r̄ = (1 + D)^(1/L) − 1, the relative perturbation that, equal in all L
weight matrices, has the same deep relative trust D. There D = 1 at 2^(1/L) − 1, which is Lemma 2's limit.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import xarray as xr

from analysis.completion import completed
from trust import measurements as variables
from trust.claims import all_claims
from trust.claims.quantities import depth, log10_trust
from trust.descent import lemma2_step_limit
from trust.structure import parse_structure

__all__ = [
    "GIVEN_WAY",
    "PREDICTORS",
    "RUNGS",
    "equal_perturbation",
    "first_rise",
    "is_known",
    "predicted",
    "reaches",
]

Floats = npt.NDArray[np.float64]

GIVEN_WAY = 0.1
"""A loss has given way where it is above its start by this share of chance's loss (log K for K classes)."""
SAME = 0.1
"""The relative perturbation at which one that knows nothing of the network says that it gives way."""
PREDICTORS = {
    "same": f"the same r̄ = {SAME:g} for all",
    "trust": "deep relative trust is 1",
    "step limit": "r̄ is the measured step limit along the gradient",
    "output": "the measured output has changed by its size",
    "telescoped": "the telescoped bound on that is 1",
    "spectral": "the spectral product on that is 1",
}
"""What each of them takes for the place where a loss gives way."""
KINDS = {
    "quantize": {"direction": "quantize"},
    "quantize-channel": {"direction": "quantize", "granularity": "channel"},
    "prune": {"direction": "prune"},
    "filter-noise": {"direction": "filter-noise"},
}
"""What is done to weights, as settings of a slice."""
RUNGS = {"telescoped": "residual-telescoped", "spectral": "residual-spectral"}
"""The claims about the output that go through skip connections; on a chain they are the ones of chains."""


def equal_perturbation(measurements: xr.Dataset) -> Floats:
    """The r̄ of each level (eta), 0 at η = 0."""
    found = log10_trust(measurements).values[0] * math.log(10)
    return np.asarray(np.expm1(np.logaddexp(0, found) / depth(measurements)), dtype=float)


def first_rise(r: npt.ArrayLike, losses: npt.ArrayLike, rise: float) -> float:
    """The r at which a loss is first above its start by ``rise``, on a straight line in log r; NaN where it never is.

    Args:
        r: increasing but for the first, which is 0 and the start.
        losses: at each; no number counts as above.
        rise: above the first of them.
    """
    places = np.asarray(r, dtype=float)[1:]
    above = np.asarray(losses, dtype=float)[1:] - np.asarray(losses, dtype=float)[0]
    over = np.flatnonzero(~(above < rise))
    if not len(over):
        return math.nan
    at = int(over[0])
    if at == 0 or not np.isfinite(above[at]):
        return float(places[at])
    share = (rise - above[at - 1]) / (above[at] - above[at - 1])
    return float(places[at - 1] ** (1 - share) * places[at] ** share)


def reaches(r: npt.ArrayLike, log10_values: npt.ArrayLike) -> float:
    """The r at which a quantity is 1: between two levels a power law, beyond them in proportion to r.

    Args:
        r: of the levels, without 0, increasing.
        log10_values: of the quantity there; what is not finite is left out. NaN where nothing is left.
    """
    places, values = (np.asarray(one, dtype=float) for one in (r, log10_values))
    known = np.isfinite(values) & (places > 0)
    x, y = np.log10(places[known]), values[known]
    if not len(y):
        return math.nan
    over = np.flatnonzero(y >= 0)
    at = int(over[0]) if len(over) else len(y)
    if at == 0:
        return float(10 ** (x[0] - y[0]))
    if at == len(y):
        return float(10 ** (x[-1] - y[-1]))
    share = -y[at - 1] / (y[at] - y[at - 1])
    return float(10 ** (x[at - 1] + share * (x[at] - x[at - 1])))


def predicted(measurements: xr.Dataset, ladder: xr.Dataset | None, step_limit: float) -> dict[str, float]:
    """Where each of :data:`PREDICTORS` says that a loss gives way, as r̄; NaN where it says nothing.

    Args:
        measurements: of all levels.
        ladder: of some of them, with what the bounds are made of; None where nothing can be said of them.
        step_limit: measured, along the gradient.
    """
    with np.errstate(divide="ignore"):
        change = np.log10(measurements[variables.OUTPUT_CHANGE].values[0]).mean(-1)
    found = {
        "same": SAME,
        "trust": float(lemma2_step_limit(depth=depth(measurements))),
        "step limit": step_limit,
        "output": reaches(equal_perturbation(measurements)[1:], change[1:]),
        "telescoped": math.nan,
        "spectral": math.nan,
    }
    if ladder is not None:
        r = equal_perturbation(ladder)[1:]
        found |= {name: reaches(r, log10_bound(ladder, name)) for name in RUNGS}
    return found


def log10_bound(ladder: xr.Dataset, rung: str) -> Floats:
    """The mean over examples of a rung's log10 at each η > 0, whether or not its premises hold."""
    values = all_claims()[RUNGS[rung]].bound(completed(ladder))
    return np.asarray(values.mean("example").isel(checkpoint=0).values, dtype=float)


def is_known(measurements: xr.Dataset) -> bool:
    """Whether the network is made of steps through which bounds are known to go."""
    structure = parse_structure(str(measurements.attrs.get("structure", "")))
    return structure is not None and structure.understood

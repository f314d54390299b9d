"""Labels that provably do not change, beside those that did not."""

from __future__ import annotations

import numpy as np
import xarray as xr

from analysis.completion import completed
from analysis.verdicts import standing_of_premises
from trust import measurements as variables
from trust.claims import Claim, Kind, all_claims, perturbed

__all__ = ["certified_labels"]


def certified_labels(measurements: xr.Dataset) -> xr.Dataset | None:
    """For each η the share of examples whose label cannot change, by the best of all bounds and by each.

    The class of the largest output stays wherever its margin exceeds √2 ‖f̃ − f‖: for two classes a and b, f_a − f_b
    moves by no more, the vector that reads it off being √2 long. Each proved theorem on the output's change counts
    where all of its premises hold; the best is the smallest of them, example by example.

    Returns:
        ``certified`` and ``kept`` (checkpoint, eta), shares of the same examples; ``certified_by`` (rung, checkpoint,
        eta), what each bound certifies alone; ``examples`` (checkpoint), how many they are. None where the run did
        not measure the margins, or no bound.
    """
    if variables.MARGIN not in measurements or variables.LABEL_KEPT not in measurements:
        return None
    measurements = completed(measurements)
    known = measurements[variables.MARGIN].notnull().any("checkpoint").values
    own = measurements.isel(example=np.flatnonzero(known))
    kept = perturbed(own)[variables.LABEL_KEPT]
    rungs = [claim for claim in all_claims().values() if _counts(claim, own)]
    if not rungs or not kept.size:
        return None
    margin = own[variables.MARGIN]
    # a label that overflowed is neither kept nor certified
    sure = xr.concat([margin > 2**0.5 * _bound(claim, own, kept) for claim in rungs], dim="rung")
    sure = sure.assign_coords(rung=[claim.id for claim in rungs])
    return xr.Dataset(
        {
            "certified": sure.any("rung").mean("example"),
            "kept": (kept == 1).mean("example"),
            "certified_by": sure.mean("example"),
            "examples": margin.notnull().sum("example"),
        }
    )


def _counts(claim: Claim, measurements: xr.Dataset) -> bool:
    """Whether it is a theorem about the output's change that was measured."""
    needed = (*claim.needs, variables.OUTPUT_NORM)
    theorem = claim.kind is Kind.THEOREM and claim.proved and claim.subject == "function"
    return theorem and all(name in measurements for name in needed)


def _bound(claim: Claim, own: xr.Dataset, like: xr.DataArray) -> xr.DataArray:
    """Its bound on ‖f̃ − f‖, infinite where a premise does not hold or it is not known."""
    relative = claim.bound(own).broadcast_like(like).transpose(*like.dims).reset_coords(drop=True)
    holds = standing_of_premises(own, claim, relative) == 1
    with np.errstate(over="ignore", invalid="ignore"):
        size = 10.0**relative * own[variables.OUTPUT_NORM].reset_coords(drop=True)
    return size.where(holds & size.notnull(), np.inf)

"""What several studies conclude with: runs by their names, numbers by name, and sentences on what the paper says."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import xarray as xr

from studies.frame import Interval

__all__ = ["beside_paper", "ends_by_name", "runs_where"]


def runs_where(found: xr.Dataset, **coordinates: str | float) -> xr.Dataset:
    """The runs that have these names and values."""
    same = np.all([found[name].values == value for name, value in coordinates.items()], axis=0)
    return found.isel(run=np.flatnonzero(same))


def beside_paper(says: str, contradicted: npt.ArrayLike, runs: str) -> str:
    """A sentence on what the paper says and in how many runs it was otherwise.

    Args:
        says: what, as a whole clause.
        contradicted: of each run whether it was otherwise; NaN where that is not known.
        runs: what is counted, in the plural.
    """
    known = np.asarray(contradicted, dtype=float).ravel()
    known = known[~np.isnan(known)]
    against, count = int(known.sum()), len(known)
    if not count:
        return f"{says}: cannot be told from these {runs}."
    if not against:
        return f"{says}: contradicted in none of {count} {runs}."
    return f"{says}: contradicted in {'all' if against == count else f'{against} of'} {count} {runs}."


def ends_by_name(cells: Mapping[str, Interval]) -> dict[str, float]:
    """Each interval's median and ends as numbers, ``NAME/low`` and so on."""
    return {
        f"{name}/{end}": getattr(one, end) for name, one in cells.items() for end in ("low", "middle", "high")
    }

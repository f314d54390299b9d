"""What several studies are made of: perceptrons, rates, slices of what is asked for alone, runs and numbers by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from probes.data.dataset import DataSet
from probes.measures.settings import SliceSettings
from probes.networks.perceptron import PerceptronSpec
from studies.frame import Interval

__all__ = ["bare_slice", "beside_paper", "dropped_rate", "ends_by_name", "perceptron", "runs_where"]


def perceptron(
    data: DataSet, *, width: int, depth: int, activation: str = "relu", **kind: Any
) -> PerceptronSpec:
    """A perceptron with biases for labelled data.

    Args:
        data: gives the inputs and the number of classes.
        width: of the hidden layers.
        depth: weight matrices.
        activation: of the hidden layers.
        kind: further fields, such as ``residual`` and ``norm``.
    """
    widths = (math.prod(data.x.shape[1:]), *[width] * (depth - 1), int(data.y.max()) + 1)
    return PerceptronSpec(widths=widths, activation=activation, biases=(True,) * depth, **kind)


def bare_slice(etas: npt.NDArray[np.float64], **more: Any) -> SliceSettings:
    """Loss and breakdown alone, and what is asked for besides; the clock must not decide the last digits."""
    without: dict[str, Any] = {"spectra": "none", "split": "none"}
    without |= dict.fromkeys(("limit", "spot_check", "ladder"), False)
    without["curvature"] = None
    return SliceSettings(**{"etas": etas, "etas_at_once": 1, **without, **more})


def dropped_rate(rate: float, step: int, steps: int) -> float:
    """The rate at a step of so many: constant, and a tenth in the last sixth, as Fromage's authors train their GAN."""
    return rate if step < steps - steps // 6 else rate / 10


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

"""What a slice's file must look like, so that nobody who reads results needs to look again."""

from __future__ import annotations

import math
from numbers import Number
from typing import Any

import numpy as np
import xarray as xr

from trust import measurements as variables
from trust.measurements import ALL

__all__ = ["check_form"]

_DIMS = ("checkpoint", "eta", "layer", "example")
_LABELS = ("checkpoint", "layer")
_POSITIVE = ("epsilon", "number_of_examples", "chunk", "etas_at_once", "processes")


def check_form(found: xr.Dataset) -> None:
    """Refuse what no run writes.

    Raises:
        ValueError: a dimension is missing, η is no grid, or a variable has other dims or another kind of values.
    """
    missing = {*_DIMS, variables.NOISE_FLOOR} - {*found.dims, *found.data_vars}
    if missing:
        raise ValueError(f"no {', '.join(sorted(missing))} in it")
    if found.sizes["checkpoint"] != 1 or 0 in (found.sizes[dim] for dim in _DIMS):
        raise ValueError(f"its sizes are {dict(found.sizes)}")
    for name, array in found.variables.items():
        known = ALL.get(str(name))
        text = str(name) in _LABELS or (known is not None and not known.units)
        if known is not None and array.dims != known.dims:
            raise ValueError(f"{name} has the dims {', '.join(map(str, array.dims))}")
        if array.dtype.kind not in ("OSU" if text else "fiub"):
            raise ValueError(f"{name} holds {array.dtype}")
        if text and not all(isinstance(value, str) and value.isprintable() for value in array.values.ravel()):
            raise ValueError(f"{name} holds what is no text")
    absent = {"eta", *_LABELS, variables.IS_WEIGHT} - set(found.coords)
    if absent:
        raise ValueError(f"{', '.join(sorted(absent))} is no coordinate")
    etas = found["eta"].values.astype(np.float64)
    if etas[0] != 0 or not np.all(np.diff(etas) > 0) or not np.isfinite(etas[-1]):
        raise ValueError("its etas are no grid")
    if len(set(found["layer"].values.tolist())) < found.sizes["layer"]:
        raise ValueError("two layers have one name")
    for name in _POSITIVE:
        if name in found.attrs and not _is_positive(found.attrs[name]):
            raise ValueError(f"{name} is {str(found.attrs[name])[:40]}")


def _is_positive(value: Any) -> bool:
    return isinstance(value, Number) and math.isfinite(value) and value > 0  # type: ignore[arg-type, operator]

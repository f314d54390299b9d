"""Measurements of a run that took only some of the measures, with NaN in the places of the others."""

from __future__ import annotations

import numpy as np
import xarray as xr

from trust.claims.remembering import once
from trust.measurements import ALL, LEVEL

__all__ = ["completed"]

_ALWAYS = ("breakdown", "spectra", "curvature")
"""The measures that every run takes by default, so that whoever reads measurements counts on them."""


@once
def completed(measurements: xr.Dataset) -> xr.Dataset:
    """The same dataset, with NaN for each variable of these measures that it lacks: unknown, like any other NaN.

    The coordinate ``level`` is left out: it stands beside η, and of quantities at one η each there would be another.
    Examples' changes are made up only beside other measures of examples, which would be read with them.

    Raises:
        ValueError: it is no dataset of measurements.
    """
    if not isinstance(measurements, xr.Dataset) or not {"checkpoint", "eta"} <= set(measurements.dims):
        raise ValueError(
            f"{str(measurements)[:60]!r}: is a {type(measurements).__name__} without measurements; give the dataset"
            " that probes.load or probes.measure_slice returns"
        )
    if LEVEL in measurements.variables:
        measurements = measurements.drop_vars(LEVEL)
    beside = any(variable in measurements for variable in ALL.values() if variable.measure == "ladder")
    lacking = [
        variable
        for variable in ALL.values()
        if variable.measure in _ALWAYS
        and (variable.measure, "eta" in variable.dims) != ("spectra", True)  # at each η on request only
        and variable not in measurements
        and (beside or "example" not in variable.dims)
        and set(variable.dims) <= set(measurements.dims)
    ]
    unknown = {
        str(variable): (variable.dims, np.full([measurements.sizes[dim] for dim in variable.dims], np.nan))
        for variable in lacking
    }
    return measurements.assign(unknown) if unknown else measurements

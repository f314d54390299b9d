"""Measurements for other programs: a tidy table as CSV or Parquet, or the dataset as one NetCDF file."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import IO, Any

import numpy as np
import xarray as xr

from probes.errors import InputError
from probes.system.files import write_atomically, writing_errors

__all__ = ["export"]

_REMEDY = "choose another `file`"
_FIRST = ("checkpoint", "eta", "layer", "example")
# a column's type by its dimension's: whole numbers stay whole beside gaps, what is no number is a name
_PARQUET = {"i": "Int64", "u": "Int64", "f": "float64"}


def export(measurements: xr.Dataset, path: str | PathLike[str]) -> int:
    """Write measurements in the format that the file's name ends in: ``.csv``, ``.parquet`` or ``.nc`` (NetCDF 3).

    The tables have a row for each number: variable, checkpoint, eta, layer, example, further dims, value.

    Returns:
        How many numbers were written.

    Raises:
        InputError: another ending, a package that is missing, or a file that cannot be written; then there is none.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name a file such as {path / 'results.csv'}")
    write = _FORMATS.get(path.suffix.lower())
    if write is None:
        raise InputError(f"{path}: is to end in {', '.join(_FORMATS)}, which says the format")
    if write is _write_parquet and find_spec("pyarrow") is None:
        raise InputError(f"{path}: Parquet needs the package pyarrow; pip install pyarrow")
    numbers = 0

    def written(stream: IO[bytes]) -> None:
        nonlocal numbers
        numbers = write(measurements, stream)

    with writing_errors(path, remedy=_REMEDY):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, written, remedy=_REMEDY)
    return numbers


def _columns(measurements: xr.Dataset) -> list[str]:
    """The names of the dims: the usual ones first."""
    return [*_FIRST, *sorted(str(dim) for dim in measurements.dims if dim not in _FIRST)]


def _rows(measurements: xr.Dataset) -> Iterator[tuple[str, dict[str, Any], float]]:
    """Every number with its variable and its place."""
    for name, array in measurements.data_vars.items():
        labels = [measurements[dim].values for dim in array.dims]
        values = array.values
        for index in np.ndindex(array.shape):
            value = float(values[index])
            if np.isnan(value) and "example" in array.dims:
                continue  # beyond the sample of a per-example measurement
            places = zip(array.dims, labels, index, strict=True)
            yield str(name), {str(dim): label[i] for dim, label, i in places}, value


def _write_csv(measurements: xr.Dataset, stream: IO[bytes]) -> int:
    columns, rows = _columns(measurements), 0
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
    writer = csv.writer(text)
    writer.writerow(["variable", *columns, "value"])
    for name, place, value in _rows(measurements):
        writer.writerow([name, *(place.get(column, "") for column in columns), repr(value)])
        rows += 1
    text.flush()
    text.detach()
    return rows


def _write_parquet(measurements: xr.Dataset, stream: IO[bytes]) -> int:
    import pandas as pd

    columns = _columns(measurements)
    kept: dict[str, list[Any]] = {column: [] for column in ("variable", *columns, "value")}
    for name, place, value in _rows(measurements):
        kept["variable"].append(name)
        kept["value"].append(value)
        for column in columns:
            kept[column].append(place.get(column))
    types = {str(dim): _PARQUET.get(measurements[dim].dtype.kind, "string") for dim in measurements.dims}
    types |= {"variable": "string", "value": "float64"}
    table = pd.DataFrame(kept).astype(types)
    table.to_parquet(stream, engine="pyarrow", index=False)
    return len(table)


def _write_netcdf(measurements: xr.Dataset, stream: IO[bytes]) -> int:
    stream.write(bytes(measurements.to_netcdf(engine="scipy")))
    return sum(array.size for array in measurements.data_vars.values())


_FORMATS: dict[str, Callable[[xr.Dataset, IO[bytes]], int]] = {
    ".csv": _write_csv,
    ".parquet": _write_parquet,
    ".nc": _write_netcdf,
}

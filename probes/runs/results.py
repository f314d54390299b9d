"""What a run measured, whole: loaded from its folder, joined into one Dataset, exported as a table."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import IO

import numpy as np
import xarray as xr

from probes.errors import InputError
from probes.runs.folder import read_manifest, read_slice, slice_files
from probes.system.files import write_atomically, writing_errors

__all__ = ["export_csv", "join", "load"]


def load(path: str | os.PathLike[str]) -> xr.Dataset:
    """The measurements of a run, its checkpoints joined in training order.

    Args:
        path: the folder that ``probe run`` wrote (also while it is still running).

    Returns:
        The Dataset that docs/measurements.md describes; ``attrs["complete"]`` is ``false`` while some are missing.

    Raises:
        InputError: there is no run there, nothing is measured yet, or a file is damaged.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    files = slice_files(folder)
    if not files:
        raise InputError(f"{folder}: nothing is measured in it yet; run the same command again")
    parts = [read_slice(file, manifest["identity"]) for file in files]
    try:
        joined = join(parts)
    except ValueError as error:
        raise InputError(
            f"{folder}: its slices differ in more than their checkpoints ({error}); measure into another folder"
        ) from error
    expected = manifest["identity"].get("checkpoints", [])
    joined.attrs["complete"] = str(len(files) == len(expected)).lower()
    return joined


def join(parts: list[xr.Dataset]) -> xr.Dataset:
    """The measurements of several checkpoints of one run as one Dataset, in the order given."""
    joined = xr.concat(
        parts, dim="checkpoint", data_vars="minimal", coords="minimal", compat="equals", join="exact"
    )
    joined.attrs = dict(parts[0].attrs)
    for name in {name for part in parts for name in part.attrs}:
        values = [str(part.attrs.get(name)) for part in parts]
        if len(set(values)) > 1:
            joined.attrs[name] = ", ".join(values)
    return joined


def export_csv(measurements: xr.Dataset, path: Path) -> int:
    """Write the tidy table, one row a number: variable, checkpoint, eta, layer, example, further dims, value.

    Returns:
        How many rows were written.

    Raises:
        InputError: the file cannot be written; then there is none.
    """
    columns = ["checkpoint", "eta", "layer", "example"]
    columns += sorted(str(dim) for dim in measurements.dims if dim not in columns)
    rows = 0
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name a file such as {path / 'results.csv'}")

    def write(stream: IO[bytes]) -> None:
        nonlocal rows
        text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
        writer = csv.writer(text)
        writer.writerow(["variable", *columns, "value"])
        for name, array in measurements.data_vars.items():
            labels = [measurements[dim].values for dim in array.dims]
            for index in np.ndindex(array.shape):
                value = float(array.values[index])
                if np.isnan(value) and "example" in array.dims:
                    continue  # beyond the sample of a per-example measurement
                places = zip(array.dims, labels, index, strict=True)
                key = {str(dim): label[i] for dim, label, i in places}
                writer.writerow([name, *(key.get(column, "") for column in columns), repr(value)])
                rows += 1
        text.flush()
        text.detach()

    with writing_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, write)
    return rows

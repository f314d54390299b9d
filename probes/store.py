"""A run's folder: one NetCDF file a checkpoint, a manifest that says what run it is, and the joined Dataset.

The layout is ``run.json`` and ``slices/0000.nc``, ``0001.nc``, … in training order. Every file is complete or
absent.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import xarray as xr

from probes.errors import InputError
from probes.files import make_folder, write_atomically, writing_errors

__all__ = ["SCHEMA", "RunFolder", "export_csv", "join", "load"]

SCHEMA = 1


class RunFolder:
    """Where a run's measurements are kept while it goes and afterwards."""

    def __init__(self, path: Path) -> None:
        """Name the folder; nothing is touched yet."""
        self.path = path
        self.manifest_path = path / "run.json"

    def open(self, plan: Mapping[str, Any], details: Mapping[str, Any]) -> None:
        """Create the folder for the run that ``plan`` describes, or continue it.

        Args:
            plan: everything that decides the numbers; a folder continues only the run with the same plan.
            details: what else to record (the command, versions).

        Raises:
            InputError: it holds something else, or cannot be written.
        """
        if self.manifest_path.is_file():
            existing = read_manifest(self.path)["plan"]
            wanted = json.loads(json.dumps(plan))
            if existing != wanted:
                differs = sorted(
                    name for name in {*existing, *wanted} if existing.get(name) != wanted.get(name)
                )
                raise InputError(
                    f"{self.path}: holds another run's results (other {', '.join(differs[:4])});"
                    " choose another --out"
                )
        elif self.path.is_dir() and any(not entry.name.startswith(".") for entry in self.path.iterdir()):
            raise InputError(f"{self.path}: is not empty and holds no run of ours; choose another --out")
        make_folder(self.path)
        make_folder(self.path / "slices")
        if not self.manifest_path.is_file():
            manifest = {"schema": SCHEMA, "plan": plan, "details": details}
            write_atomically(self.manifest_path, (json.dumps(manifest, indent=1) + "\n").encode())

    def slice_path(self, index: int) -> Path:
        """The file of the checkpoint at place ``index`` in training order."""
        return self.path / "slices" / f"{index:04d}.nc"

    def has_slice(self, index: int) -> bool:
        """Whether that checkpoint was measured; a damaged file is named rather than trusted.

        Raises:
            InputError: the file is there and cannot be read.
        """
        path = self.slice_path(index)
        if not path.is_file():
            return False
        _read_slice(path)
        return True

    def write_slice(self, index: int, measurements: xr.Dataset) -> None:
        """Keep one checkpoint's measurements."""
        content = measurements.to_netcdf(engine="scipy")
        write_atomically(self.slice_path(index), content)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The contents of a run's ``run.json``.

    Raises:
        InputError: there is none, or it is damaged, or a newer version wrote it.
    """
    path = folder / "run.json"
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give one that probe run wrote")
    if not path.is_file():
        raise InputError(f"{folder}: holds no results of probe run (no run.json in it)")
    try:
        content = json.loads(path.read_text("utf-8"))
        schema, plan = content["schema"], content["plan"]
        if not isinstance(schema, int) or not isinstance(plan, dict):
            raise TypeError("schema or plan")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is damaged ({error}); measure again into another folder") from error
    if schema > SCHEMA:
        raise InputError(f"{path}: written by a newer version (schema {schema}); upgrade deep-relative-trust")
    return content  # type: ignore[no-any-return]


def _read_slice(path: Path) -> xr.Dataset:
    try:
        with path.open("rb") as stream:
            dataset = xr.load_dataset(stream, engine="scipy")
        missing = {"checkpoint", "eta", "layer"} - set(dataset.dims)
        if missing or "loss" not in dataset:
            raise KeyError(f"no {', '.join(sorted(missing)) or 'loss'}")
    except Exception as error:  # the parser's own errors for a truncated or edited file are of many types
        raise InputError(
            f"{path}: is damaged ({type(error).__name__}: {error}); delete it and run the same command again"
        ) from error
    return dataset


def load(path: str | os.PathLike[str]) -> xr.Dataset:
    """The measurements of a run, its checkpoints joined in training order.

    Args:
        path: the folder that ``probe run`` wrote (also while it is still running).

    Returns:
        The Dataset that the README describes; ``attrs["complete"]`` is ``false`` while some are missing.

    Raises:
        InputError: there is no run there, nothing is measured yet, or a file is damaged.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    files = sorted((folder / "slices").glob("[0-9][0-9][0-9][0-9].nc"))
    if not files:
        raise InputError(f"{folder}: nothing is measured in it yet; run the same command again")
    parts = [_read_slice(file) for file in files]
    joined = join(parts)
    planned = manifest["plan"].get("checkpoints", [])
    joined.attrs["complete"] = str(len(files) == len(planned)).lower()
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
    """Write the tidy table, one row a number: variable, checkpoint, eta, layer, example, value.

    Returns:
        How many rows were written.

    Raises:
        InputError: the file cannot be written; then there is none.
    """
    columns = ("checkpoint", "eta", "layer", "example")
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

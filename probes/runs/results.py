"""What a run measured, whole: loaded from its folder, joined into one Dataset."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import xarray as xr

from probes.errors import InputError
from probes.runs.folder import read_manifest, read_slice, slice_files
from trust import measurements as variables

__all__ = ["join", "load"]


def load(path: str | os.PathLike[str]) -> xr.Dataset:
    """The measurements of a run, its checkpoints joined in training order.

    Args:
        path: the folder that ``probe run`` wrote (also while it is still running).

    Returns:
        The Dataset that docs/reference/variables.md describes. While some checkpoints are missing
        ``attrs["complete"]`` is ``false``; ``attrs["planned_checkpoints"]`` is how many there will be.

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
    joined.attrs["planned_checkpoints"] = len(expected)
    return joined


def join(parts: list[xr.Dataset]) -> xr.Dataset:
    """The measurements of several checkpoints of one run as one Dataset, in the order given.

    Of levels, whose η are each network's own, the mean over checkpoints stands for η.
    """
    if all(variables.LEVEL in part for part in parts):
        etas = np.mean([part["eta"].values for part in parts], axis=0)
        parts = [part.assign_coords(eta=("eta", etas, part["eta"].attrs)) for part in parts]
    joined = xr.concat(
        parts, dim="checkpoint", data_vars="minimal", coords="minimal", compat="equals", join="exact"
    )
    joined.attrs = dict(parts[0].attrs)
    for variable in joined.variables.values():  # the first part's: the longest of all names may be longer
        variable.encoding.pop("char_dim_name", None)
    for name in {name for part in parts for name in part.attrs}:
        values = [str(part.attrs.get(name)) for part in parts]
        if len(set(values)) > 1:
            joined.attrs[name] = ", ".join(values)
    return joined

"""What a run measured, read back: exact, in order, and as a table without a gap."""

from __future__ import annotations

import csv
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import probes
from probes import InputError
from probes.runs.export import export
from probes.runs.results import join
from tests.probes.runs.test_folder import write


def test_what_is_loaded_is_what_was_measured(tmp_path: Path, parts: list[xr.Dataset]) -> None:
    write(tmp_path / "run", parts)
    loaded = probes.load(tmp_path / "run")
    assert loaded.attrs.pop("complete") == "true"
    assert loaded["checkpoint"].values.tolist() == ["checkpoint-0", "checkpoint-10"]
    for index, part in enumerate(parts):
        for name in [*part.data_vars, *part.coords]:
            got, wanted = loaded[name], part[name]
            if "checkpoint" in wanted.dims:
                got = got.isel(checkpoint=[index])
            assert got.dims == wanted.dims, name
            np.testing.assert_array_equal(
                got.values, wanted.values, err_msg=str(name)
            )  # every bit, inf and NaN too
            if wanted.dtype.kind in "fib":
                assert got.dtype == wanted.dtype, name
    for name, value in parts[0].attrs.items():
        assert loaded.attrs[name] == value or parts[1].attrs[name] != value, name
    assert loaded.attrs["direction_hash"] == ", ".join(part.attrs["direction_hash"] for part in parts)
    xr.testing.assert_equal(loaded, join(parts))


def test_more_than_ten_checkpoints_stay_in_order(tmp_path: Path, parts: list[xr.Dataset]) -> None:
    many = [parts[0].assign_coords(checkpoint=[str(k)]) for k in range(12)]
    write(tmp_path / "run", many)
    assert probes.load(tmp_path / "run")["checkpoint"].values.tolist() == [str(k) for k in range(12)]


def test_export_is_tidy_and_exact(tmp_path: Path, parts: list[xr.Dataset]) -> None:
    measurements = join(parts)
    path = tmp_path / "new" / "out.csv"
    rows = export(measurements, path)
    with path.open(newline="", encoding="utf-8") as stream:
        table = list(csv.DictReader(stream))
    assert len(table) == rows
    assert list(table[0]) == ["variable", "checkpoint", "eta", "layer", "example", "quantile", "value"]
    seen = set()
    for row in table:
        array = measurements[row["variable"]]
        where: dict[str, Any] = {
            str(dim): float(row[str(dim)])
            if dim in ("eta", "quantile")
            else int(row[str(dim)])
            if dim == "example"
            else row[str(dim)]
            for dim in array.dims
        }
        assert all(
            (row[column] == "") == (column not in where) for column in table[0] if column in measurements.dims
        )
        value = float(array.sel(where))
        assert float(row["value"]) == value or (math.isnan(value) and row["value"] == "nan")
        seen.add((row["variable"], *where.values()))
    assert len(seen) == rows  # no number twice
    numbers = sum(int(np.isfinite(array.values).sum()) for array in measurements.data_vars.values())
    assert sum(math.isfinite(float(row["value"])) for row in table) == numbers  # and none is left out
    with pytest.raises(InputError, match="folder"):
        export(measurements, tmp_path)


def test_parquet_has_the_rows_of_the_csv(tmp_path: Path, parts: list[xr.Dataset]) -> None:
    measurements = join(parts)
    rows = export(measurements, tmp_path / "out.csv")
    with warnings.catch_warnings(action="error"):
        assert export(measurements, tmp_path / "out.PARQUET") == rows
    table = pd.read_parquet(tmp_path / "out.PARQUET")
    plain = pd.read_csv(tmp_path / "out.csv")
    assert list(table.columns) == list(plain.columns)
    for column in table.columns:
        mine, other = table[column], plain[column]
        assert mine.isna().equals(other.isna()), column
        known = mine.notna()
        assert mine[known].tolist() == other[known].tolist(), column
    assert pd.api.types.is_integer_dtype(table["example"])
    assert table["eta"].dtype == table["value"].dtype == np.float64


def test_parquet_without_its_package(
    tmp_path: Path, parts: list[xr.Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("probes.runs.export.find_spec", lambda name: None)
    with pytest.raises(InputError, match="needs the package pyarrow; pip install pyarrow"):
        export(join(parts), tmp_path / "out.parquet")
    assert not list(tmp_path.iterdir())


def test_netcdf_is_the_dataset(tmp_path: Path, parts: list[xr.Dataset]) -> None:
    measurements = join(parts)
    numbers = export(measurements, tmp_path / "out.nc")
    again = xr.load_dataset(tmp_path / "out.nc", engine="scipy")
    xr.testing.assert_equal(again, measurements)
    assert again.attrs["number_of_examples"] == measurements.attrs["number_of_examples"]
    assert numbers == sum(array.size for array in measurements.data_vars.values())
    # it is no run's slice, and not taken for one
    assert "sha256" not in again.attrs


def test_names_of_unequal_lengths_are_written_without_a_warning(
    tmp_path: Path, parts: list[xr.Dataset]
) -> None:
    named = [
        part.assign_coords(checkpoint=[name])
        for part, name in zip(parts, ["epoch_9", "epoch_10"], strict=True)
    ]
    found = probes.load(write(tmp_path / "run", named).path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export(found, tmp_path / "a.nc")
    assert xr.load_dataset(tmp_path / "a.nc", engine="scipy")["checkpoint"].values.tolist() == [
        "epoch_9",
        "epoch_10",
    ]


@pytest.mark.parametrize("name", ["out", "out.xlsx", "out.csv.gz", "out.nc4", "csv", ".csv"])
def test_other_endings_are_refused(tmp_path: Path, parts: list[xr.Dataset], name: str) -> None:
    with pytest.raises(InputError, match=r"is to end in \.csv, \.parquet, \.nc"):
        export(join(parts), tmp_path / name)
    assert not list(tmp_path.iterdir())

"""Results whose seals fit, and which no run wrote: one line each."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import probes
from probes.runs.folder import read_manifest
from probes.system.seals import ATTRIBUTE, BLANK, digest_of, seal
from tests.conftest import Probe
from tests.guarantees.hostile_files.refusals import one_line
from tests.guarantees.never_lose_work.runs import GOLDEN
from tests.probes.cli.refusals import one_line as refused

Change = Callable[[xr.Dataset], xr.Dataset]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / "schema-2", tmp_path / "copy"))


def rewrite(path: Path, change: Change) -> None:
    """Change a slice and seal it again."""
    found = xr.load_dataset(io.BytesIO(path.read_bytes()), engine="scipy")
    changed = change(found).copy(deep=False)
    changed.attrs = {
        ATTRIBUTE: BLANK,
        **{name: value for name, value in changed.attrs.items() if name != ATTRIBUTE},
    }
    path.write_bytes(seal(bytes(changed.to_netcdf(engine="scipy"))))


def valued(name: str, value: Any) -> Change:
    return lambda found: found.assign({name: (found[name].dims, np.full(found[name].shape, value))})


CHANGES: dict[str, Change] = {
    "no eta": lambda found: found.isel(eta=[]),
    "other etas": lambda found: found.assign_coords(eta=found["eta"] * 2),
    "etas that fall": lambda found: found.isel(eta=slice(None, None, -1)),
    "etas that are text": lambda found: found.assign_coords(eta=[f"{eta}" for eta in found["eta"].values]),
    "etas that are no numbers": lambda found: found.assign_coords(eta=found["eta"] * np.nan),
    "etas without labels": lambda found: found.drop_vars("eta"),
    "fewer etas": lambda found: found.isel(eta=slice(None, -1)),
    "two checkpoints": lambda found: xr.concat([found, found], "checkpoint", data_vars="minimal"),
    "no checkpoint's name": lambda found: found.drop_vars("checkpoint"),
    "a number for a name": lambda found: found.assign_coords(checkpoint=[3]),
    "a name that is no text": lambda found: found.assign_coords(checkpoint=["\x1b[31m"]),
    "other layers": lambda found: found.assign_coords(layer=[f"x{k}" for k in range(found.sizes["layer"])]),
    "one name for all layers": lambda found: found.assign_coords(layer=["x"] * found.sizes["layer"]),
    "fewer layers": lambda found: found.isel(layer=[0]),
    "no weights told": lambda found: found.drop_vars("is_weight"),
    "text for numbers": valued("gradient_change", "x"),
    "text for a loss": valued("loss", "nan"),
    "numbers for text": valued("treatment", 3.0),
    "a number for all": lambda found: found.assign(gradient_change=1.0),
    "other dims": lambda found: found.assign(loss=(("a", "b"), found["loss"].values)),
    "dims the other way": lambda found: found.assign(gradient_change=found["gradient_change"].transpose()),
    "no noise floor": lambda found: found.drop_vars("noise_floor"),
    "no examples": lambda found: found.isel(example=[]),
    "rounding that is text": lambda found: found.assign_attrs(epsilon="x"),
    "rounding that is none": lambda found: found.assign_attrs(epsilon=float("nan")),
    "examples below none": lambda found: found.assign_attrs(number_of_examples=-1),
    "relative sizes below 0": valued("relative_perturbation", -1.0),
}


@pytest.mark.parametrize("what", CHANGES)
def test_slices_that_no_run_wrote(probe: Probe, copy: Path, what: str) -> None:
    rewrite(copy / "slices" / "0001.nc", CHANGES[what])
    refused(probe("report", copy, "--format", "png"), str(copy))
    if what != "relative sizes below 0":  # which only those who judge need
        one_line(lambda: probes.load(copy), str(copy))


@pytest.mark.parametrize("name", ["output_norm", "loss_noise_floor", "rows", "activation"])
def test_variables_that_no_slice_has(probe: Probe, copy: Path, name: str) -> None:
    for path in (copy / "slices").iterdir():
        rewrite(path, lambda found: found.drop_vars(name))
    refused(probe("report", copy, "--format", "png"), str(copy), "cannot be judged (KeyError", name)
    assert isinstance(probe("--debug", "report", copy).exception, ValueError)


def test_slices_that_say_the_same_are_read(copy: Path) -> None:
    before = probes.load(copy)
    rewrite(copy / "slices" / "0001.nc", lambda found: found)
    xr.testing.assert_identical(probes.load(copy), before)


@pytest.mark.parametrize(
    "change",
    [
        {"checkpoints": 5}, {"checkpoints": "ab"}, {"checkpoints": [3]}, {"checkpoints": None}, {"chunk": "x"},
        {"chunk": True}, {"etas_at_once": "x"}, {"etas_at_once": 1.5},
    ],
)  # fmt: skip
def test_manifests_that_no_run_wrote(probe: Probe, copy: Path, change: dict[str, Any]) -> None:
    manifest = read_manifest(copy)
    manifest["identity"] |= change
    manifest[ATTRIBUTE] = digest_of(manifest)
    (copy / "run.json").write_text(json.dumps(manifest))
    for number in range(2):  # of this very run
        rewrite(
            copy / "slices" / f"000{number}.nc",
            lambda found: found.assign_attrs(run_hash=digest_of(manifest["identity"])),
        )
    refused(probe("report", copy), "run.json: is damaged", next(iter(change)))


@pytest.mark.parametrize("identity", [5, None, [], "x"])
def test_manifests_without_an_identity(probe: Probe, copy: Path, identity: Any) -> None:
    manifest = {**read_manifest(copy), "identity": identity}
    manifest[ATTRIBUTE] = digest_of(manifest)
    (copy / "run.json").write_text(json.dumps(manifest))
    refused(probe("report", copy), "run.json: is damaged")


def test_a_pipe_among_the_slices_is_not_waited_for(probe: Probe, copy: Path) -> None:
    os.mkfifo(copy / "slices" / "0002.nc")
    refused(probe("report", copy), "0002.nc", "not a plain file")

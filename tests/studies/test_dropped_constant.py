"""The study on a small scale: its numbers against the runs that it leaves behind, and continued with more seeds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import probes
import studies.dropped_constant as dropped
from probes.data.dataset import load_data
from tests.conftest import Probe

NETWORKS = {"2-layer": (2, "plain"), "3-layer-batch-norm": (3, "batch norm")}


def tiny() -> dropped.Preset:
    schedule = dict.fromkeys(NETWORKS, (2, 0.9))
    return dropped.Preset(
        width=6,
        batch_size=50,
        epoch_steps=None,
        examples=80,
        split_examples=80,
        jacobian=2,
        schedule=schedule,
    )


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    random = np.random.default_rng(1)
    y = np.arange(150) % 10
    np.savez(tmp_path / "d.npz", x=(random.normal(size=(150, 6)) + y[:, None]).astype(np.float32), y=y)
    monkeypatch.setattr(dropped, "_NETWORKS", NETWORKS)
    monkeypatch.setitem(dropped.PRESETS, "quick", tiny())
    monkeypatch.setattr(dropped, "_CHECKPOINTS", 3)
    own = ["study", "dropped-constant", "--data", tmp_path / "d.npz", "--format", "png", "--jobs", 1]
    return [*own, "--out", tmp_path / "out"]


def test_presets_are_of_the_eight_networks() -> None:
    expected = {(depth, kind) for depth in (2, 16, 50) for kind in ("plain", "batch norm", "residual")}
    assert set(dropped._NETWORKS.values()) == expected - {(2, "residual")}
    for preset in ("quick", "paper"):
        assert set(dropped.PRESETS[preset].schedule) == set(dropped._NETWORKS)
    assert dropped.PRESETS["paper"].width == 784


def test_networks_are_what_they_are_called(small: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(dropped._NETWORKS, "3-layer-residual", (3, "residual"))
    size = replace(tiny(), schedule=dict.fromkeys(dropped._NETWORKS, (2, 0.9)))
    data = load_data(str(small[3]))
    specs = {name: dropped._training(size, {"network": name, "seed": 7}, data) for name in dropped._NETWORKS}
    kinds = {name: (one.network.norm, one.network.residual) for name, one in specs.items()}
    assert kinds == {
        "2-layer": ("none", False),
        "3-layer-batch-norm": ("batch", False),
        "3-layer-residual": ("none", True),
    }
    assert specs["3-layer-residual"].network.widths == (6, 6, 6, 10)
    assert specs["2-layer"].seed == 7


def test_its_numbers_are_those_of_its_runs(probe: Probe, small: list[Any], tmp_path: Path) -> None:
    first = probe(*small, "--seeds", 1)
    assert first.exit_code == 0, first.output
    assert "C, residuals held" in first.stdout
    done = probe(*small, "--seeds", 2, "--json")  # the first is there already
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert (document["study"], document["preset"], document["seeds"]) == ("dropped-constant", "quick", 2)
    assert all(Path(figure).is_file() for figure in document["figures"])
    numbers = document["numbers"]
    assert len(numbers) == 2 * 3 * (2 * 10 * 3 + 3)
    for network, (depth, kind) in NETWORKS.items():
        folders = [tmp_path / "out" / "runs" / f"network-{network}_seed-{k}" for k in range(2)]
        runs = [probes.load(folder / "measurements") for folder in folders]
        assert runs[0].sizes["checkpoint"] == 3
        for place, share in enumerate(("0", "0.5", "1")):
            largest, held, sample, accuracy = [], [], [], []
            for run in runs:
                at = run.isel(checkpoint=place).sel(eta=1e-4)
                weights = at.isel(layer=np.flatnonzero(at["is_weight"].values))
                trust = float(np.prod(1 + weights["relative_perturbation"])) - 1
                k = int(np.argmax(weights["gradient_change"].values))
                largest.append(float(weights["gradient_change"][k]) / trust)
                held.append(float(weights["frozen_residual_change"][k]) / trust)  # of the same layer
                sample.append(float(weights["sample_gradient_change"][k]) / trust)
                accuracy.append(float(run["accuracy"].isel(checkpoint=place, eta=0)))
            assert sample == pytest.approx(largest, rel=1e-3)  # all examples are the split's
            for name, values in (
                ("largest/constant", largest),
                ("largest/frozen_constant", held),
                ("accuracy", accuracy),
            ):
                found = [numbers[f"{network}/{share}/{name}/{s}"] for s in ("low", "median", "high")]
                assert found == pytest.approx([min(values), np.median(values), max(values)], rel=1e-6)
        assert f"{depth} layers, {kind} (to accuracy" in document["answer"]
        assert f"→ {np.median(largest):.3g} ({min(largest):.3g}–{max(largest):.3g});" in document["answer"]
        assert f"{largest[0]:.3g}" in first.stdout


def test_what_cannot_be_is_refused(probe: Probe, small: list[Any], tmp_path: Path) -> None:
    for arguments, text in (
        (("study", "nothing", "--out", tmp_path / "o"), "dropped-constant"),
        ((*small, "--seeds", 0), "--seeds 0"),
    ):
        refused = probe(*arguments)
        assert refused.exit_code == 2
        assert text in refused.stderr
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    refused = probe(*small)
    assert refused.exit_code == 2
    assert "is not empty" in refused.stderr


def test_statistics_are_over_the_seeds_that_are_known() -> None:
    value = xr.DataArray([[1.0, np.nan], [4.0, np.nan], [np.nan, np.nan]], dims=("seed", "quantity"))
    found = dropped.over_seeds(xr.Dataset({"value": value}))
    np.testing.assert_array_equal(found["value"], [[1.0, np.nan], [2.5, np.nan], [4.0, np.nan]])

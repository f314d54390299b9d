"""Directions of every kind through the commands: a run, its report, its claims."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import probes
from tests.conftest import Probe


@pytest.fixture(scope="module")
def folder(probe: Probe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints of a small training."""
    base = tmp_path_factory.mktemp("directions")
    random = np.random.default_rng(0)
    y = np.arange(30) % 3
    np.savez(base / "data.npz", x=(random.normal(size=(30, 5)) + 3 * np.eye(5)[y]).astype(np.float32), y=y)
    made = probe(
        "train", "--depth", 3, "--width", 6, "--epochs", 2, "--batch-size", 10, "--checkpoints", 2, "--no-bias",
        "--optimizer", "agd", "--initialization", "agd", "--data", base / "data.npz", "--out", base / "net",
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    assert json.loads((base / "net" / "training.json").read_text())["lr"] == 1  # agd's own
    return base


def reported(probe: Probe, folder: Path, direction: str, *options: object) -> tuple[dict[str, str], str]:
    """The verdicts of a run along that direction at its last checkpoint, and what the report says."""
    out = folder / "-".join([direction, *map(str, options)]).replace("/", "_")
    done = probe("run", folder / "net", "--direction", direction, *options, "--out", out)
    assert done.exit_code == 0, done.output
    again = probe("report", out, "--json")
    assert again.exit_code == 0, again.output
    verdicts = json.loads(again.stdout)["verdicts"]
    return {one["claim"]: one["status"] for one in verdicts}, (out / "report" / "report.md").read_text()


@pytest.mark.parametrize("direction", ["spectral", "sign"])
def test_steepest_descent(probe: Probe, folder: Path, direction: str) -> None:
    statuses, text = reported(probe, folder, direction, "--etas", "0.01,0.1")
    for claim in ("telescoped", "spectral-product"):
        assert statuses[claim] == "holds", claim
    assert "not measured" not in statuses["lemma2-limit"]
    assert {"spectral": "under the spectral norm", "sign": "its gradient's sign"}[direction] in text
    found = probes.load(folder / f"{direction}---etas-0.01,0.1")
    # η₀ = 1e-4 of a weight in float32, whose rounding is 2⁻²⁴
    np.testing.assert_allclose(found["relative_perturbation"][:, 1:] / found["eta"][1:], 1, rtol=1e-3)

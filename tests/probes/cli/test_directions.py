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


def networks(folder: Path, direction: str) -> list[Path]:
    """The trained one, and beside it for one direction that at the start, whose levels have η of their own."""
    files = sorted((folder / "net").glob("*.safetensors"))
    return files if direction == "quantize" else files[-1:]


def reported(probe: Probe, folder: Path, direction: str, *options: object) -> tuple[dict[str, str], str]:
    """The verdicts of a run along that direction at its last checkpoint, and what the report says."""
    out = folder / "-".join([direction, *map(str, options)]).replace("/", "_")
    done = probe("run", *networks(folder, direction), "--direction", direction, *options, "--out", out)
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


@pytest.mark.parametrize(
    ("direction", "options", "levels"),
    [
        ("quantize", ("--levels", "8,3", "--granularity", "channel"), [8, 3]),
        ("prune", (), [10, 20, 30, 40, 50, 60, 70, 80, 90]),
        ("filter-noise", ("--levels", "1,10"), [1, 10]),
    ],
)
def test_levels(
    probe: Probe, folder: Path, direction: str, options: tuple[str, ...], levels: list[float]
) -> None:
    statuses, text = reported(probe, folder, direction, *options)
    assert statuses["telescoped"] == "holds"
    assert statuses["deep-relative-trust"].startswith(("within", "off by"))
    assert statuses["lemma2-limit"] == "not measured"
    assert {"quantize": "bits", "prune": "pruning", "filter-noise": "output channels"}[direction] in text
    out = folder / "-".join([direction, *options])
    found = probes.load(out)
    assert found["level"].values[1:].tolist() == levels
    r = found["relative_perturbation"].max("layer")
    np.testing.assert_allclose(found["eta"], r.mean("checkpoint"), rtol=1e-6, atol=0)
    if direction == "filter-noise":
        np.testing.assert_allclose(r[:, 1:], [[0.01, 0.1]], rtol=1e-4)
    # once more from what it says of itself: nothing is left to do
    files = {path: path.stat().st_mtime_ns for path in out.glob("*.nc")}
    done = probe("run", *networks(folder, direction), "--config", out / "run.toml")
    assert done.exit_code == 0, done.output
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.nc")} == files


def test_a_dry_run_of_levels(probe: Probe, folder: Path) -> None:
    done = probe(
        "run", folder / "net", "--direction", "prune", "--levels", "5,50", "--dry-run", "--out", folder / "no"
    )
    assert done.exit_code == 0, done.output
    assert "direction prune, 2 levels: 5, 50" in done.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--direction", "quantize", "--etas", "paper"), "--direction quantize has levels instead"),
        (
            ("--direction", "quantize", "--levels", "2,8"),
            "--levels 2,8: give whole numbers of bits from 24 down",
        ),
        (("--levels", "8"), "--levels 8: is for the directions quantize, prune, filter-noise"),
        (("--direction", "prune", "--levels", "110"), "--levels 110: give rising percentages"),
    ],
)
def test_refusals(probe: Probe, folder: Path, options: tuple[str, ...], said: str) -> None:
    done = probe("run", folder / "net", *options, "--out", folder / "no")
    assert done.exit_code == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_no_limit_where_there_is_no_line(probe: Probe, folder: Path) -> None:
    done = probe("limit", folder / "net", "--direction", "prune")
    assert done.exit_code == 2
    assert "--direction prune: has no step limit" in done.stderr

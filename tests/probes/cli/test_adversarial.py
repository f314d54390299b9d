"""The worst perturbation through the commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import probes
from analysis import Status, judge
from tests.conftest import Probe
from tests.trust.claims.examples import CLAIMS


@pytest.fixture(scope="module")
def folder(probe: Probe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished adversarial run of a trained network, and what it was made from."""
    base = tmp_path_factory.mktemp("adversarial")
    random = np.random.default_rng(0)
    y = np.arange(30) % 3
    np.savez(base / "data.npz", x=(random.normal(size=(30, 5)) + 3 * np.eye(5)[y]).astype(np.float32), y=y)
    made = probe(
        "train", "--depth", 2, "--width", 6, "--epochs", 2, "--batch-size", 10, "--checkpoints", 2,
        "--data", base / "data.npz", "--out", base / "net",
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    files = sorted((base / "net").glob("*.safetensors"))
    done = probe(
        "run", files[-1], "--direction", "adversarial", "--etas", "0.01,0.1", "--restarts", 1,
        "--ascent-steps", 5, "--out", base / "run",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    return base


def test_a_run_of_the_worst_perturbation(probe: Probe, folder: Path) -> None:
    found = probes.load(folder / "run")
    assert found.attrs["direction"] == "adversarial"
    assert found.attrs["objective"] == "output"
    # float32 rounds W + ΔW by 6e-8 of W
    assert bool((found["relative_perturbation"] <= found["eta"] + 1e-7).all())
    own = found["perturbation_norm"] <= (found["eta"] + 1e-7) * found["weight_norm"]
    assert bool(own.all())
    file = sorted((folder / "net").glob("*.safetensors"))[-1]
    downhill = probe("run", file, "--etas", "0.01,0.1", "--out", folder / "gradient")
    assert downhill.exit_code == 0, downhill.output
    other = probes.load(folder / "gradient")
    mean = [one["output_change"].mean("example") for one in (found, other)]
    assert bool((mean[0] >= mean[1] * (1 - 1e-4)).all())
    assert "step_limit" not in found
    for verdicts in judge(found):
        claim = CLAIMS[verdicts.claim]
        if claim.subject == "step" or claim.id == "lemma1":
            assert verdicts.status is Status.NOT_MEASURED
        assert verdicts.status is not Status.REFUTED or claim.id in (
            "deep-relative-trust", "euclidean-trust"
        ), verdicts  # fmt: skip


def test_limit_has_no_worst_perturbation(probe: Probe, folder: Path) -> None:
    refused = probe("limit", folder / "net", "--direction", "adversarial")
    assert refused.exit_code == 2
    assert refused.stdout == ""
    (line,) = refused.stderr.strip().splitlines()
    assert "--direction adversarial" in line
    assert "step limit" in line


def test_report_of_the_worst_perturbation(probe: Probe, folder: Path) -> None:
    result = probe("report", folder / "run", "--out", folder / "report", "--format", "png", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert {verdict["claim"] for verdict in document["verdicts"]} == set(CLAIMS)
    assert all(Path(figure).is_file() for figure in document["figures"])
    assert (folder / "report" / "report.md").is_file()

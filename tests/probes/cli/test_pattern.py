"""``--pattern N``: what a number of examples may be, and what a run and a report then have."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import probes
from tests.conftest import Probe
from tests.probes.cli.refusals import one_line


def test_a_run_with_it_is_reported(probe: Probe, trained: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = probe("run", trained, "--pattern", 5, "--etas", "0.001,0.01", "--samples", 3, "--out", out)
    assert result.exit_code == 0, result.output
    found = probes.load(out)
    assert found.sizes["example"] == 5  # as many as are asked for are kept
    assert found["pattern_bound"].notnull().all()
    assert (found["certified_step"] >= 0).all()
    result = probe("report", out, "--out", tmp_path / "report", "--format", "png", "--json")
    assert result.exit_code == 0, result.output
    page = (tmp_path / "report" / "report.md").read_text()
    assert "### Certified labels" in page
    assert "![labels-" in page
    verdicts = json.loads((tmp_path / "report" / "verdicts.json").read_text())
    words = {one["claim"]: one["status"] for one in verdicts["verdicts"]}
    assert {words["pattern-telescoped"], words["pattern-response"], words["certified-step"]} <= {
        "holds",
        "useless",
    }
    assert np.isfinite(found["loss_rise_bound"].values).all()


def test_a_number_that_is_none_is_refused_in_one_line(probe: Probe, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    one_line(probe("run", trained, "--pattern", -1, "--out", out), "--pattern -1", "at least 0")
    assert not out.exists()
    one_line(probe("run", trained, "--measure", "pattern", "--out", out), "add --pattern N")

"""``--pattern N``: what a number of examples may be, and what a run and a report then have."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

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


def convolutional() -> nn.Module:
    """A network with batch norm, of three classes."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)),
        nn.Conv2d(1, 2, 2),
        nn.BatchNorm2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4, 3),
    )


def test_where_it_has_no_meaning_run_and_report_say_so(probe: Probe, data: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(convolutional().state_dict(), tmp_path / "net.pt")
    network = ["--network", f"{__name__}:convolutional", "--data", data, "--etas", "0.01", "--no-limit"]
    result = probe("run", tmp_path / "net.pt", *network, "--pattern", 50, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.stderr.splitlines() if "--pattern" in line]
    assert line.startswith("probe: --pattern 50 has no meaning for this network")
    result = probe("report", tmp_path / "run", "--format", "png", "--json")
    verdicts = {one["claim"]: one for one in json.loads(result.stdout)["verdicts"]}
    for claim, premise in [
        ("pattern-telescoped", "chain of layers or blocks"),
        ("pattern-response", "chain of layers or blocks"),
        ("certified-step", "chain of layers or blocks"),
        ("path-metric", "plain chain"),
        ("path-metric-direct", "plain chain"),
    ]:
        assert verdicts[claim]["status"] == "premise fails", claim
        assert verdicts[claim]["remark"] == f"{premise}: not measured"
    assert verdicts["lemma2-limit"]["remark"] == "add the search for the step limit (leave out --no-limit)"

"""Runs that took only some measures: whatever reads them finds NaN, and verdicts say what to add."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import probes
from analysis import find, judge
from analysis.completion import completed
from analysis.verdicts import Status
from tests.conftest import Probe

MEASURES = ["breakdown", "spectra", "ladder", "curvature", "step-limit", "predicted-limit", "sensitivity"]


@pytest.mark.parametrize("measure", MEASURES)
def test_a_run_of_one_measure_is_reported(probe: Probe, trained: Path, tmp_path: Path, measure: str) -> None:
    options = ["--measure", measure, "--jacobian", 1, "--etas", "0.001,0.1", "--out", tmp_path / "run"]
    done = probe("run", trained, *options)
    assert done.exit_code == 0, done.output
    done = probe("report", tmp_path / "run", "--format", "png")
    assert done.exit_code == 0, done.output
    measurements = probes.load(tmp_path / "run")
    verdicts = {v.claim: v for v in judge(measurements)}
    trust = verdicts["deep-relative-trust"]
    assert (trust.status is Status.NOT_MEASURED) == (measure != "breakdown")
    if measure != "breakdown":
        assert trust.remark == "add `measure='breakdown'`"
        assert np.isnan(find(measurements, title="run").measurements["gradient_change"]).all()


def test_what_is_there_stays_as_it_is(measured: Path) -> None:
    measurements = probes.load(measured)
    assert completed(measurements) is measurements
    without = measurements.drop_vars(["loss", "curvature", "output_change"])
    again = completed(without)
    assert np.isnan(again["loss"]).all()
    assert again["loss"].dims == measurements["loss"].dims
    assert again["output_change"].shape == measurements["output_change"].shape
    assert "jacobian_change" not in completed(measurements.drop_vars("jacobian_change"))

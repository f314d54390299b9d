"""The product bound's slack taken apart, on measured networks, and what its table and figure say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from analysis import alignment, find
from analysis.alignment import alignment_table
from figures import numbers_of_alignment, write_report_figures
from probes import SliceSettings, measure_slice
from tests.support.reference import make, make_data

N = 5


def measured(activation: str = "tanh", **kind: Any) -> xr.Dataset:
    network = make((6, 8, 8, 8, 3), activation, **kind)
    settings = SliceSettings(etas=[0, 1e-4, 1e-2], dtype="float64", alignment=N, samples=9, limit=False)
    return measure_slice(network, *make_data(9), settings=settings)


@pytest.mark.parametrize(
    ("kind", "bound"),
    [
        ({}, lambda norms: np.log10(norms).sum()),
        ({"residual": True}, lambda norms: np.log10(norms + np.array([0, 1, 1, 0])).sum()),
    ],
)
def test_gates_and_alignment_are_all_of_the_slack(kind: dict[str, Any], bound: Any) -> None:
    run = measured(**kind)
    found = alignment(run)
    assert found is not None
    assert found.sizes["example"] == N
    tensors = dict(make((6, 8, 8, 8, 3), "tanh", **kind).named_parameters())
    norms = [float(torch.linalg.matrix_norm(tensors[f"layers.{k}.weight"].double(), 2)) for k in range(4)]
    exact = bound(np.array(norms)) - np.log10(run["jacobian_norm"].values[:, :N])
    np.testing.assert_allclose(found["slack"], exact, atol=1e-9)
    np.testing.assert_allclose(found["gates"] + found["alignment"], found["slack"], atol=1e-12)
    assert (found["gates"] >= 0).all()
    assert (found["alignment"] > 0).all()


def test_behind_a_batch_norm_the_bound_is_of_both_together() -> None:
    found = alignment(measured(norm="batch"))
    assert found is not None
    assert (found["gates"] > 0).all()


def test_without_norms_alignment_is_still_told() -> None:
    run = measured()
    bare = run.drop_vars(["operator_norm", "spectral_norm"])
    found, whole = alignment(bare), alignment(run)
    assert found is not None
    assert whole is not None
    assert found["slack"].isnull().all()
    xr.testing.assert_equal(found["alignment"], whole["alignment"])
    matrices = alignment(run.drop_vars("operator_norm"))
    assert matrices is not None
    np.testing.assert_allclose(matrices["slack"], whole["slack"], atol=1e-9)


def test_the_table_and_the_figure_say_what_was_measured(tmp_path: Path) -> None:
    run = measured()
    found = alignment(run)
    assert found is not None
    medians = [float(found[name].median()) for name in ("slack", "gates", "alignment")]
    row = alignment_table(found)[1]
    assert [float(cell) for cell in row[1:4]] == pytest.approx(medians, rel=0.05)
    drawn = numbers_of_alignment(found)
    suffixes = drawn[drawn["panel"] == "alignment"].set_index("series")["y"]
    assert suffixes["all layers"] == pytest.approx(-medians[2])
    own = run["jacobian_alignment"].sel(layer="layers.0.weight").median()
    assert suffixes["from layer 2"] == pytest.approx(float(own))
    assert len(suffixes) == 3  # of the last layer there is nothing to align
    findings = find(run, title="net")
    assert "Alignment of layers" in [heading for heading, _, _ in findings.sections]
    written = [file.name for file in write_report_figures(tmp_path, [findings], formats=("png",))]
    assert "alignment-net.png" in written


def test_a_run_without_it_has_none() -> None:
    run = measured()
    assert alignment(run.drop_vars("whole_jacobian_alignment")) is None

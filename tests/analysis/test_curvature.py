"""What is said of curvature that was measured, that did not converge, and that was not."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from analysis import curvature_summary
from analysis.documents import curvature_rows
from analysis.tables import curvature_table


def measured() -> xr.Dataset:
    return xr.Dataset(
        {
            "hessian_eigenvalue": (("checkpoint", "rank"), [[8.0, 3.0], [5.0, 2.0]]),
            "hessian_residual": (("checkpoint", "rank"), [[1e-5, 1e-5], [2e-3, 1e-5]]),
            "layer_hessian_eigenvalue": (
                ("checkpoint", "layer", "rank"),
                [[[1.0, 0.5], [np.nan, np.nan], [4.0, 0.1]], [[np.nan, np.nan]] * 3],
            ),
            "gradient_step_limit": ("checkpoint", [0.25, np.nan]),
            "step_limit": ("checkpoint", [0.1, 0.2]),
            "batch_sharpness": ("checkpoint", [6.0, 7.0]),
            "batch_sharpness_error": ("checkpoint", [0.5, np.nan]),
        },
        coords={"checkpoint": ["a", "b"], "eta": [0.0, 0.1], "layer": ["first", "bias", "last"]},
    )


def test_sharpness_in_every_form() -> None:
    found = curvature_summary(measured())
    assert found is not None
    assert found["hessian"].values.tolist() == [8.0, 5.0]
    assert found["hessian_converged"].values.tolist() == [True, False]
    assert (float(found["block"][0]), str(found["block_layer"].values[0])) == (4.0, "last")
    assert float(found["critical_sharpness"][0]) == 8.0
    np.testing.assert_allclose(found["relative_critical_sharpness"], [20.0, 10.0])
    assert found["gauss_newton"].isnull().all()


def test_what_is_not_converged_is_in_brackets_and_null() -> None:
    found = curvature_summary(measured())
    assert found is not None
    heading, first, second = curvature_table(found)
    assert heading == [
        "checkpoint", "λ of H", "largest of a layer's block", "2/s, critical", "2/η, critical", "batch sharpness"
    ]  # fmt: skip
    assert first == ["a", "8", "4 (last)", "8", "20", "6 ± 0.5"]
    assert second == ["b", "(5)", "–", "–", "10", "7"]
    rows = curvature_rows(found)
    assert [row["hessian"] for row in rows] == [8.0, None]
    assert rows[0]["block_layer"] == "last"
    assert rows[1]["block_layer"] is None


@pytest.mark.parametrize("left", [["batch_sharpness"], ["hessian_eigenvalue"]])
def test_some_of_it_is_enough(left: list[str]) -> None:
    assert (
        curvature_summary(measured()[[*left, "hessian_residual"]].assign_coords(eta=[0.0, 0.1])) is not None
    )


def test_nothing_is_nothing() -> None:
    assert curvature_summary(measured()[["step_limit"]]) is None


def test_the_edge_is_that_of_plain_descent() -> None:
    data = measured().assign_coords(learning_rate=("checkpoint", [0.1] * measured().sizes["checkpoint"]))
    found = curvature_summary(data.assign_attrs(optimizer="sgd"))
    assert found is not None
    np.testing.assert_allclose(found["edge"], 20.0)
    other = curvature_summary(data.assign_attrs(optimizer="adam"))
    assert other is not None
    assert other["edge"].isnull().all()

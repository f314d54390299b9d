"""The effective constant taken apart: vectors of the test's own in, inner products and products out."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import FACTORS, find, split
from analysis.documents import split_rows
from analysis.tables import split_table
from tests.analysis.synthetic import measured
from trust.distance import deep_relative_trust

ETAS = np.array([0.0, 1e-4, 1e-2])
DIMS = ("checkpoint", "eta", "layer")
ATTRIBUTES = {"biases_moved": "true", "number_of_examples": 7, "direction": "gradient", "dtype": "float64"}


def run(
    A: Any, B: Any, *, etas: Any = ETAS, rows: Any = (1,), layers: int = 2, **replaced: Any
) -> xr.Dataset:
    """A run of ‖g‖ = 1 with these vectors at some rows; the examples' numbers are made up."""
    shape = (1, len(etas), layers)
    change, frozen, residual = (np.full(shape, np.nan) for _ in range(3))
    change[:] = np.asarray(etas)[:, None]
    change[0, rows], frozen[0, rows], residual[0, rows] = (np.linalg.norm(x) for x in (A + B, A, B))
    replaced.setdefault("gradient_change", change)
    data = measured(etas, layers=layers, **replaced)
    sample = np.full(shape, np.nan)
    sample[0, rows] = 1.0
    trust = np.asarray(deep_relative_trust(np.full((len(etas), layers), np.asarray(etas)[:, None])))
    scaled = sample * trust[None, :, None]
    return data.assign(
        {
            "frozen_residual_change": (DIMS, frozen),
            "residual_change": (DIMS, residual),
            "mean_example_change": (DIMS, 3 * scaled),
            "sample_cancellation": (DIMS, 0.5 * sample),
            "sample_residual_factor": (DIMS, 4 * sample),
            "sample_gradient_change": (DIMS, 6 * scaled),
            "example_gradient_change": ((*DIMS, "quantile"), scaled[..., None] * np.array([2.0, 5.0, 9.0])),
            "examples_without_gradient": (("checkpoint", "layer"), np.zeros((1, layers))),
            "split_examples": (("checkpoint",), [7.0]),
        }
    ).assign_coords(quantile=[0.5, 0.9, 1.0])


vectors = st.lists(st.floats(-1, 1, width=32), min_size=3, max_size=3).map(np.array)


@settings(max_examples=30, deadline=None)
@given(vectors, vectors, st.floats(1e-3, 1e150))
def test_the_signed_parts_are_inner_products_and_add_up(A: Any, B: Any, scale: float) -> None:
    A, B = A * scale, B * scale
    v = A + B
    size = np.linalg.norm(v / scale) * scale
    if size < 1e-2 * scale:
        return
    found = split(run(A, B))
    assert found is not None
    one = found.isel(checkpoint=0, eta=0, layer=0)
    trust = 2e-4 + 1e-8
    # norms are right to 1e-16 of the longest vector, here a hundred times ‖v‖ at most, and so are squares' differences
    room = {"rtol": 1e-9, "atol": 1e-9 * scale}
    np.testing.assert_allclose(one.constant, size / trust, rtol=1e-12)
    np.testing.assert_allclose(one.jacobian_part * trust, (A / scale) @ (v / size) * scale, **room)
    np.testing.assert_allclose(one.residual_part * trust, (B / scale) @ (v / size) * scale, **room)
    np.testing.assert_allclose((one.jacobian_part + one.residual_part) / one.constant, 1.0, rtol=1e-9)
    np.testing.assert_allclose(one.frozen_constant * trust, np.linalg.norm(A / scale) * scale, rtol=1e-12)


A, B = np.array([3e-3, 0.0]), np.array([-1e-3, 1e-3])


def test_factors_are_the_examples_and_their_logarithms_add_up() -> None:
    found = split(run(A, B))
    assert found is not None
    one = found.isel(checkpoint=0, eta=0)
    assert one["factor"].values.tolist() == list(FACTORS)
    np.testing.assert_allclose(one.log10_factor, np.log10([3.0, 0.5, 4.0])[:, None] * [[1, 1]], rtol=1e-12)
    np.testing.assert_allclose(one.log10_factor.sum("factor"), np.log10(one.sample_constant), rtol=1e-12)
    np.testing.assert_allclose(one.sample_constant, 6.0, rtol=1e-12)
    np.testing.assert_allclose(one.example_constant, [[2.0, 5.0, 9.0]] * 2, rtol=1e-12)


def test_theorem_1b_is_over_the_layers_that_its_jacobian_is_of() -> None:
    relative = np.broadcast_to(ETAS[:, None] * [1.0, 2.0, 3.0], (1, 3, 3))
    change = np.full((1, 3, 3, 3), np.nan)
    change[..., 1, :, 0], change[..., 1, :, 1] = [0.2, 0.5, 0.7], [0.4, 0.1, 0.7]
    data = run(A, B, layers=3, relative_perturbation=relative, examples=3)
    data["jacobian_change"] = (*DIMS, "example"), change
    found = split(data)
    assert found is not None
    eta = 1e-4
    products = [(1 + eta) * (1 + 2 * eta) * (1 + 3 * eta) - 1, (1 + 2 * eta) * (1 + 3 * eta) - 1, 3 * eta]
    expected = np.array([0.3, 0.3, 0.7]) / products  # medians of two examples; the third was not measured
    np.testing.assert_allclose(found.jacobian_constant[0, 0], expected, rtol=1e-9)
    without = split(data.drop_vars("jacobian_change"))
    assert without is not None
    assert without.jacobian_constant.isnull().all()


def test_only_what_was_measured_is_there_and_what_is_noise_is_marked() -> None:
    assert split(measured(ETAS)) is None
    assert split(run(A, B, rows=[])) is None
    every = split(run(A, B, rows=[1, 2]))
    assert every is not None
    assert every["eta"].values.tolist() == [1e-4, 1e-2]
    assert every.attrs["small_eta"] == 1e-4
    floor = np.linalg.norm(B) / 9.9  # ten times it is above ‖B‖, and below ‖A‖ and ‖A + B‖
    noisy = split(run(A, B, noise_floor=floor))
    assert noisy is not None
    assert noisy.jacobian_evident.all()
    assert not noisy.residual_evident.any()
    assert not noisy.sample_evident.any()  # 3 D = 6e-4
    row = split_table(noisy)[1]
    by_jacobians, by_residuals = row[3].split(" + ")
    assert (by_jacobians[0], by_residuals[0]) == ("1", "(")
    silent = split(run(A, B, noise_floor=1.0))
    assert silent is not None
    assert silent.constant.isnull().all()
    assert silent.jacobian_part.isnull().all()
    assert split_table(silent)[1][2:] == ["–", "– + –", "–", "– = – × – × –", "–, –", *row[-1:]]


def test_the_table_shows_the_input_layer_and_the_largest() -> None:
    change = np.broadcast_to(ETAS[:, None] * [10.0, 5.0, 40.0], (1, 3, 3))
    data = run(A, B, layers=3, gradient_change=change, is_weight=[True, True, False])
    found = split(data)
    assert found is not None
    heading, *rows = split_table(found)
    assert all(len(row) == len(heading) for row in rows)
    assert [row[1] for row in rows] == ["layers.0.weight"]  # it is the largest of the weight matrices itself
    data = run(A, B, layers=3, gradient_change=change)
    found = split(data)
    assert found is not None
    heading, *rows = split_table(found)
    assert [row[:2] for row in rows] == [["c0", "layers.0.weight"], ["c0", "layers.2.weight"]]
    assert rows[0][5:7] == ["6 = 3 × 0.5 × 4", "2, 5"]


def test_a_report_has_the_table_and_the_document_its_numbers() -> None:
    data = run(A, B).assign_attrs(ATTRIBUTES)
    one = find(data, title="a net", claims=[])
    (rows,) = (rows for heading, _, rows in one.sections if "taken apart" in heading)
    assert one.split is not None
    assert rows == split_table(one.split)
    document = split_rows([one])
    json.dumps(document, allow_nan=False)
    assert [row["layer"] for row in document] == ["layers.0.weight", "layers.1.weight"]
    (first, _), eta = document, 1e-4
    assert (first["checkpoint"], first["eta"]) == ("c0", eta)
    assert first["constant"] == pytest.approx(first["jacobian_part"] + first["residual_part"], rel=1e-12)
    assert first["log10_cancellation"] == pytest.approx(np.log10(0.5))
    assert first["example_constant"] == pytest.approx({"0.5": 2.0, "0.9": 5.0, "1": 9.0})
    assert "network" not in first
    assert [row["network"] for row in split_rows([one, find(data, title="b", claims=[])])][::2] == [
        "a net",
        "b",
    ]
    assert split_rows([find(measured(ETAS).assign_attrs(ATTRIBUTES), title="", claims=[])]) == []

"""Norms: closed forms, extreme scales, every kind of array, bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from trust import (
    as_array,
    as_matrix,
    condition_number,
    frobenius_norm,
    relative_norm,
    singular_values,
    spectral_norm,
    stable_rank,
)

MATRIX = np.array([[3.0, 0.0, 0.0], [0.0, -4.0, 0.0]])


@pytest.mark.parametrize(
    "values",
    [
        [[1, 2], [3, 4]],
        np.array([[1, 2], [3, 4]], dtype=np.float16),
        np.array([[1, 2], [3, 4]], dtype=np.uint8),
        xr.DataArray([[1.0, 2.0], [3.0, 4.0]], dims=("layer", "eta")),
        torch.tensor([[1, 2], [3, 4]]),
        torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True),
        torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.bfloat16),
        torch.tensor([[1.0, 2.0], [3.0, 4.0]]).to_sparse(),
        torch.nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0]])),
    ],
)
def test_as_array_takes_all_kinds(values: object) -> None:
    array = as_array(values)
    assert type(array) is np.ndarray
    assert array.dtype == np.float64
    np.testing.assert_array_equal(array, [[1, 2], [3, 4]])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_as_array_takes_gpu_tensors() -> None:
    np.testing.assert_array_equal(as_array(torch.ones(2, device="cuda", requires_grad=True)), [1, 1])


def test_as_array_keeps_infinities_and_nan() -> None:
    np.testing.assert_array_equal(as_array([np.inf, np.nan]), [np.inf, np.nan])


@pytest.mark.parametrize(
    "values", [None, "1", [None, 1.0], 1j, [[1, 2], [3]], torch.tensor(1j), {"a": 1}, [object()]]
)
def test_as_array_refuses_what_is_not_numbers(values: object) -> None:
    with pytest.raises(ValueError, match=r"real numbers|inhomogeneous"):
        as_array(values)


def test_closed_forms() -> None:
    assert frobenius_norm(MATRIX) == pytest.approx(5, rel=1e-15)
    assert frobenius_norm(np.ones((2, 3, 4, 5))) == pytest.approx(np.sqrt(120), rel=1e-15)
    assert frobenius_norm(-7) == 7
    assert frobenius_norm([]) == 0
    assert frobenius_norm(np.zeros((3, 3))) == 0
    np.testing.assert_allclose(singular_values(MATRIX), [4, 3], rtol=1e-15)
    assert spectral_norm(MATRIX) == pytest.approx(4, rel=1e-15)
    assert condition_number(MATRIX) == pytest.approx(4 / 3, rel=1e-14)
    assert stable_rank(MATRIX) == pytest.approx(25 / 16, rel=1e-14)
    assert stable_rank(np.eye(5)) == pytest.approx(5)
    assert stable_rank(np.ones((5, 3))) == pytest.approx(1)


@pytest.mark.parametrize("scale", [1e200, 1e-200, 1e-310])
def test_extreme_scales(scale: float) -> None:
    # 1e-310 is subnormal: its entries carry about 1e-13 of relative rounding.
    tolerance = 1e-13 if scale > 1e-300 else 1e-11
    tiny_or_huge = scale * MATRIX
    assert frobenius_norm(tiny_or_huge) == pytest.approx(5 * scale, rel=tolerance, abs=0)
    assert spectral_norm(tiny_or_huge) == pytest.approx(4 * scale, rel=tolerance, abs=0)
    assert condition_number(tiny_or_huge) == pytest.approx(4 / 3, rel=tolerance)
    assert stable_rank(tiny_or_huge) == pytest.approx(25 / 16, rel=tolerance)
    assert relative_norm(tiny_or_huge, 2 * tiny_or_huge) == pytest.approx(0.5, rel=tolerance)


def test_norm_above_the_largest_float_is_infinite() -> None:
    assert frobenius_norm(np.full(4, 1.7e308)) == np.inf
    assert frobenius_norm(np.full(1, 1.7e308)) == 1.7e308


def test_condition_number_of_rank_deficient_matrices_is_infinite() -> None:
    assert condition_number(np.zeros((2, 3))) == np.inf
    assert condition_number([[1, 2], [2, 4]]) == np.inf
    rng = np.random.default_rng(0)
    product = rng.standard_normal((6, 2)) @ rng.standard_normal((2, 6))  # rank 2, but for rounding
    assert condition_number(product) == np.inf
    assert condition_number(np.diag([1.0, 1e-14])) == pytest.approx(1e14, rel=1e-9)
    assert condition_number(np.diag([1.0, 4e-16])) == np.inf  # below 2·2.2e-16
    assert condition_number([[1.0, 5.0]]) == 1  # one singular value


def test_relative_norm_conventions() -> None:
    assert relative_norm([0.0, 0.0], [0.0, 0.0]) == 0
    assert relative_norm([0.0, 0.0], [1.0, 0.0]) == 0
    assert relative_norm([1.0, 0.0], [0.0, 0.0]) == np.inf
    assert relative_norm([3.0, 4.0], [0.0, 10.0]) == pytest.approx(0.5)


def test_as_matrix_flattens_all_but_the_first_axis() -> None:
    weight = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    matrix = as_matrix(weight)
    assert matrix.shape == (2, 60)
    np.testing.assert_array_equal(matrix[1], weight[1].ravel())
    np.testing.assert_array_equal(as_matrix(MATRIX), MATRIX)


@pytest.mark.parametrize("bad", [1.0, [1.0, 2.0], np.ones((0, 3))])
def test_as_matrix_refuses_vectors(bad: object) -> None:
    with pytest.raises(ValueError, match="two axes"):
        as_matrix(bad)


@pytest.mark.parametrize(
    "norm", [frobenius_norm, spectral_norm, singular_values, condition_number, stable_rank]
)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_norms_refuse_nan_and_infinities(norm, bad: float) -> None:
    with pytest.raises(ValueError, match=r"1 NaN or infinite entries out of 4"):
        norm([[1.0, bad], [0.0, 1.0]])


@pytest.mark.parametrize("norm", [spectral_norm, singular_values, condition_number, stable_rank])
@pytest.mark.parametrize("bad", [1.0, [1.0, 2.0], np.ones((2, 2, 2)), np.ones((0, 2))])
def test_matrix_norms_refuse_other_shapes(norm, bad: object) -> None:
    with pytest.raises(ValueError, match="matrix with two axes"):
        norm(bad)


def test_relative_norm_refuses_differing_shapes() -> None:
    with pytest.raises(ValueError, match=r"change has shape \(2,\) but reference has shape \(3,\)"):
        relative_norm(np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match="reference has 1 NaN"):
        relative_norm([1.0], [np.nan])


@settings(max_examples=100)
@given(
    matrix=arrays(
        np.float64, array_shapes(min_dims=2, max_dims=2, max_side=5), elements=st.floats(-1e3, 1e3)
    ),
    exponent=st.integers(-600, 600),
)
def test_norm_inequalities_and_exact_scaling(matrix: np.ndarray, exponent: int) -> None:
    """‖M‖₂ ≤ ‖M‖_F ≤ √rank ‖M‖₂, 1 ≤ stable rank ≤ min(m, n); and a power of two scales without rounding."""
    matrix = np.where(np.abs(matrix) < 1e-3, 0.0, matrix)  # so that 2^−600 leaves no subnormals
    frobenius, spectral = frobenius_norm(matrix), spectral_norm(matrix)
    # LAPACK's singular values err by a few ε‖M‖₂ for such small sides, NumPy's sums by less.
    slack = 1 + 1e-13
    assert spectral <= frobenius * slack
    assert frobenius <= np.sqrt(min(matrix.shape)) * spectral * slack
    if np.any(matrix):
        assert 1 / slack <= stable_rank(matrix) <= min(matrix.shape) * slack
    assert condition_number(matrix) >= 1
    scaled = np.ldexp(matrix, exponent)
    assert frobenius_norm(scaled) == np.ldexp(frobenius, exponent)
    assert condition_number(scaled) == condition_number(matrix)

"""Eigenvalues against dense matrices, and what is said where they cannot be had."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from probes import InputError
from probes.evaluation.curvature import (
    GaussNewtonOperator,
    HessianOperator,
    Operator,
    Preconditioned,
    adam_diagonal,
    eigenpairs,
    hutchinson_trace,
)
from probes.evaluation.curvature.eigenvalues import Which
from probes.system.processes import ALONE, Share
from tests.probes.evaluation.curvature.matrices import EXACT, PROBLEMS, adam_state, perceptron


class Known:
    """A matrix that is there."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix, self.size, self.dtype = matrix, len(matrix), matrix.dtype
        self.share: Share = ALONE
        self.device = torch.device("cpu")

    def product(self, v: Tensor) -> Tensor:
        return self.matrix @ v.to(self.matrix)


def with_spectrum(values: list[float], size: int, seed: int = 0) -> Known:
    """A symmetric matrix with these eigenvalues, and 0."""
    draw = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(size, size, generator=draw, dtype=EXACT)).Q[:, : len(values)]
    return Known(basis @ torch.diag(torch.tensor(values, dtype=EXACT)) @ basis.T)


@pytest.mark.parametrize("kind", ["hessian", "gauss-newton", "preconditioned"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_both_ends_are_those_of_the_dense_matrix(name: str, kind: str) -> None:
    problem = PROBLEMS[name]()
    evaluator = problem.evaluator()
    operator: Operator
    if kind == "gauss-newton":
        operator, matrix = GaussNewtonOperator(evaluator), problem.gauss_newton()
    else:
        operator, matrix = HessianOperator(evaluator), problem.hessian()
    if kind == "preconditioned":
        second = torch.rand(operator.size, generator=torch.Generator().manual_seed(0), dtype=EXACT)
        p = adam_diagonal(adam_state(operator, second, step=7), operator)
        operator, matrix = Preconditioned(operator, p), matrix / torch.sqrt(torch.outer(p, p))
    expected = np.linalg.eigvalsh(matrix.numpy())
    top = eigenpairs(operator, 3, tolerance=1e-9)
    np.testing.assert_allclose(top.values, expected[::-1][:3], rtol=1e-8)
    assert top.converged.all()
    if kind != "gauss-newton":  # which has a kernel
        low = eigenpairs(operator, 2, which="smallest", tolerance=1e-9)
        np.testing.assert_allclose(low.values, expected[:2], rtol=1e-8)


def test_every_layers_block() -> None:
    problem = perceptron()
    for operator, matrix in (
        (HessianOperator(problem.evaluator()), problem.hessian()),
        (GaussNewtonOperator(problem.evaluator()), problem.gauss_newton()),
    ):
        start = 0
        for name, length in zip(problem.names, operator.lengths, strict=True):
            part = slice(start, start + length)
            expected = np.linalg.eigvalsh(matrix[part, part].numpy())[::-1]
            found = eigenpairs(operator.block([name]), 2, tolerance=1e-9)
            np.testing.assert_allclose(found.values, expected[:2], rtol=1e-8)
            start += length


def test_the_residual_is_of_the_pair_that_is_returned() -> None:
    matrix = with_spectrum([5.0, 4.9, 4.8, 1.0, -2.0], 200)
    found = eigenpairs(matrix, 3, tolerance=1e-2)
    for value, residual, vector in zip(found.values, found.residuals, found.vectors.T, strict=True):
        missed = torch.linalg.vector_norm(matrix.product(vector) - value * vector)
        assert residual == pytest.approx(float(missed) / abs(value), rel=1e-6, abs=1e-13)
        assert float(torch.linalg.vector_norm(vector)) == pytest.approx(1.0)


@pytest.mark.parametrize("which", ["largest", "smallest"])
@pytest.mark.parametrize("dtype", [EXACT, torch.float32])
@pytest.mark.parametrize("k", [2, 3, 6])
def test_repeated_eigenvalues_are_found_as_often_as_they_are_there(
    k: int, dtype: torch.dtype, which: Which
) -> None:
    """As those of a linear output layer's block under a square loss, I_C ⊗ hhᵀ."""
    sign = 1.0 if which == "largest" else -1.0
    values = sign * np.repeat([0.2726, 0.2399, 0.2017, 0.1], 4)
    matrix = Known(with_spectrum(values.tolist(), 48).matrix.to(dtype))
    found = eigenpairs(matrix, k, which=which)
    np.testing.assert_allclose(found.values, values[:k], rtol=1e-4)
    assert found.converged.all()
    gram = (found.vectors.T @ found.vectors).numpy()
    np.testing.assert_allclose(gram, np.eye(k), atol=1e-2)


def test_a_start_nearby_takes_fewer_products() -> None:
    values = [float(v) for v in np.geomspace(10, 1e-3, 150)]
    matrix = with_spectrum(values, 200)
    cold = eigenpairs(matrix, 2)
    warm = eigenpairs(
        Known(matrix.matrix + 1e-4 * with_spectrum(values, 200, 1).matrix), 2, start=cold.vectors
    )
    assert warm.converged.all()
    assert warm.products < cold.products


def test_a_start_in_an_invariant_subspace_hides_nothing() -> None:
    matrix = Known(torch.diag(torch.linspace(1, 9, 100, dtype=EXACT)))
    found = eigenpairs(matrix, 1, start=torch.eye(100, dtype=EXACT)[:50].sum(0))
    assert found.values[0] == pytest.approx(9.0)


def test_what_does_not_converge_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probes.evaluation.curvature.eigenvalues._MOST", 10)
    matrix = Known(torch.diag(torch.linspace(1, 1.001, 3000, dtype=EXACT)))
    found = eigenpairs(matrix, 2, tolerance=1e-10)
    assert not found.converged.any()
    assert (found.residuals > 1e-10).all()
    assert ((found.values > 1) & (found.values <= 1.001)).all()  # a Rayleigh quotient all the same


@pytest.mark.parametrize("size", [1, 2, 30, 100])
def test_more_eigenvalues_than_there_are(size: int) -> None:
    values = [float(v) for v in np.arange(size, 0, -1)]
    found = eigenpairs(with_spectrum(values, size), size + 3)
    np.testing.assert_allclose(found.values, values, rtol=1e-12)


@pytest.mark.parametrize("size", [1, 10, 200])
def test_the_zero_matrix(size: int) -> None:
    found = eigenpairs(Known(torch.zeros(size, size, dtype=EXACT)), 1)
    assert found.values.tolist() == [0.0]
    assert found.converged.all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fewer_eigenvalues_than_asked_for_that_are_not_zero(dtype: torch.dtype) -> None:
    matrix = Known(with_spectrum([7.0, 3.0], 300).matrix.to(dtype))
    found = eigenpairs(matrix, 4)
    np.testing.assert_allclose(found.values[:2], [7, 3], rtol=1e-6)
    assert found.converged[:2].all()
    np.testing.assert_allclose(found.values[2:], 0, atol=1e-5)
    assert found.products < 200


@pytest.mark.parametrize("size", [5, 200])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_products_that_are_not_finite(size: int, bad: float) -> None:
    found = eigenpairs(Known(torch.full((size, size), bad, dtype=EXACT)), 2)
    assert np.isnan(found.values).all()
    assert not found.converged.any()


def test_what_makes_no_sense_is_refused() -> None:
    matrix = Known(torch.eye(3, dtype=EXACT))
    for wrong in ({"k": 0}, {"k": 1, "tolerance": 0.0}, {"k": 1, "start": torch.ones(4)}):
        with pytest.raises(InputError):
            eigenpairs(matrix, **wrong)
    with pytest.raises(InputError, match="samples"):
        hutchinson_trace(matrix, 0, 0)


@given(
    values=st.lists(st.floats(-10, 10).filter(lambda v: abs(v) > 1e-3), min_size=1, max_size=12),
    size=st.integers(12, 90),
    which=st.sampled_from(["largest", "smallest"]),
)
@settings(deadline=None, max_examples=40)
def test_rayleigh_quotients_lie_between_the_ends(values: list[float], size: int, which: Which) -> None:
    """And an eigenvalue is within the residual's norm of each value, as for every symmetric matrix."""
    matrix = with_spectrum(values, size)
    every = np.append(values, np.zeros(size - len(values)))
    found = eigenpairs(matrix, 2, which=which)
    assert (found.values <= every.max() + 1e-9).all()
    assert (found.values >= every.min() - 1e-9).all()
    for value, residual in zip(found.values, found.residuals, strict=True):
        assert np.abs(every - value).min() <= residual * abs(value) + 1e-9
    end = every.max() if which == "largest" else every.min()
    assert found.values[0] == pytest.approx(end, abs=1e-6)


def test_hutchinsons_error_is_that_of_the_mean() -> None:
    """The variance of zᵀHz over random signs is 2 Σ_{i≠j} H_ij²."""
    problem = perceptron()
    matrix, operator = problem.hessian(), HessianOperator(problem.evaluator())
    trace = float(matrix.trace())
    spread = float((2 * (matrix.pow(2).sum() - matrix.diagonal().pow(2).sum())).sqrt())
    mean, error = hutchinson_trace(operator, 400, seed=0)
    # the error of a standard deviation from 400 nearly normal values is 1/√800 = 3.5 % of it
    assert error == pytest.approx(spread / 20, rel=0.15)
    assert abs(mean - trace) < 4 * error
    assert hutchinson_trace(operator, 5, seed=1)[0] != hutchinson_trace(operator, 5, seed=2)[0]
    assert np.isnan(hutchinson_trace(operator, 1, seed=0)[1])
    diagonal = Known(torch.diag(torch.arange(5.0)))
    assert hutchinson_trace(diagonal, 3, seed=0) == (10.0, 0.0)

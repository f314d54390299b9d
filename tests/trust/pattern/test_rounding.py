"""Rounded up: never below exact arithmetic, and hardly above."""

from __future__ import annotations

from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings

from tests.trust.pattern.networks import seeds
from trust import rounding
from trust.rounding import norm_bound, raised, spectral_norm_bound


@given(seeds)
@settings(max_examples=100)
def test_a_norm_is_never_below_exact_arithmetic(seed):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(3, int(rng.integers(1, 50)))) * 10.0 ** rng.uniform(-30, 30)
    for bound, row in zip(norm_bound(rows), rows, strict=True):
        exact = sum(Fraction(value) ** 2 for value in row.tolist())
        assert Fraction(float(bound)) ** 2 >= exact
    assert np.allclose(norm_bound(rows), np.linalg.norm(rows, axis=1), rtol=1e-13, atol=0)


def test_numpy_alone_would_be_below_exact_arithmetic():
    """So that the test above has something to catch."""
    rows = np.random.default_rng(0).normal(size=(200, 30))
    exact = [sum(Fraction(value) ** 2 for value in row.tolist()) for row in rows]
    below = [Fraction(float(n)) ** 2 < e for n, e in zip(np.linalg.norm(rows, axis=1), exact, strict=True)]
    assert sum(below) > 20


@given(seeds)
@settings(max_examples=60)
def test_a_spectral_norm_is_never_below_fifty_digits(seed):
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 6, 2)
    matrix = rng.normal(size=shape) * 10.0 ** rng.uniform(-100, 100)
    if rng.random() < 0.3:  # all singular values alike
        matrix = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    with mpmath.workdps(50):
        exact = mpmath.svd_r(mpmath.matrix(matrix.tolist()), compute_uv=False)[0]
        bound = mpmath.mpf(spectral_norm_bound(matrix))
        assert exact <= bound <= exact * (1 + mpmath.mpf(10) ** -11)


@pytest.mark.parametrize("shape", [(40, 70), (150, 140), (200, 129)])
def test_larger_matrices_are_within_two_millionths(shape):
    """NumPy's own norm errs by some 1e-14."""
    rng = np.random.default_rng(1)
    for matrix in (rng.normal(size=shape), np.eye(*shape), np.ones(shape)):
        norm = np.linalg.norm(matrix, 2)
        assert norm * (1 - 1e-13) <= spectral_norm_bound(matrix) <= norm * (1 + 3e-6)


def test_a_wrong_estimate_cannot_lower_the_bound(monkeypatch):
    """What finds the eigenvalue is not trusted: Cholesky's algorithm decides."""
    matrix = np.random.default_rng(2).normal(size=(20, 30))
    honest = spectral_norm_bound(matrix)
    monkeypatch.setattr(rounding, "_estimate", lambda gram: float(np.linalg.eigvalsh(gram)[-1]) * 0.7)
    assert honest * (1 - 1e-12) <= spectral_norm_bound(matrix) <= honest * 1.5


def test_degenerate_matrices():
    assert spectral_norm_bound(np.zeros((3, 4))) == 0
    assert spectral_norm_bound(np.zeros((0, 4))) == 0
    assert spectral_norm_bound(np.array([[1e308, 1e308]])) == pytest.approx(2**0.5 * 1e308)
    assert spectral_norm_bound(np.full((1, 4), 1e308)) == np.inf
    assert spectral_norm_bound(np.array([[np.inf]])) == np.inf
    assert raised(np.float64(0.0), 5) == 0

"""The Fréchet distance of Gaussians against closed forms, and of points."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.linalg import sqrtm

from studies.parts.frechet import frechet_distance, frechet_distance_of

MEAN = np.array([1.0, -2.0, 0.5])


def covariance(seed: int, rank: int = 3) -> np.ndarray:
    factor = np.random.default_rng(seed).normal(size=(3, rank))
    return factor @ factor.T


def test_of_equals_it_is_zero() -> None:
    for rank in (3, 1):  # roots of roundings of 1e-15 are 1e-7
        assert frechet_distance(MEAN, covariance(0, rank), MEAN, covariance(0, rank)) < 1e-6


def test_a_shift_of_the_mean_is_its_length_squared() -> None:
    shift = np.array([3.0, 0.0, -4.0])
    assert frechet_distance(MEAN, covariance(0), MEAN + shift, covariance(0)) == pytest.approx(25)


def test_of_diagonal_covariances_deviations_are_compared() -> None:
    """And of those that commute, in any basis: ‖√a − √b‖²."""
    a, b = np.array([4.0, 9.0, 0.0]), np.array([1.0, 16.0, 25.0])
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3))).Q
    for basis in (np.eye(3), turn):
        found = frechet_distance(MEAN, (basis * a) @ basis.T, MEAN, (basis * b) @ basis.T)
        assert found == pytest.approx(1 + 1 + 25)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_definition_and_symmetric(seed: int) -> None:
    A, B = covariance(seed), covariance(100 + seed)
    expected = (MEAN**2).sum() + np.trace(A + B - 2 * np.real(sqrtm(A @ B)))
    assert frechet_distance(MEAN, A, 0 * MEAN, B) == pytest.approx(expected)
    assert frechet_distance(0 * MEAN, B, MEAN, A) == pytest.approx(expected)


def test_of_points() -> None:
    """In one dimension it is (μ − ν)² + (σ − τ)², with the unbiased deviations."""
    points, others = np.array([[0.0], [2.0]]), np.array([[1.0], [4.0], [7.0]])
    assert frechet_distance_of(points, others) == pytest.approx((1 - 4) ** 2 + (math.sqrt(2) - 3) ** 2)
    assert frechet_distance_of(points, [[np.nan], [1.0]]) == math.inf
    assert frechet_distance_of([[np.inf], [1.0]], others) == math.inf

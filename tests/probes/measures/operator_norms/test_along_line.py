"""Norms along a line: never below, hardly above, and found without singular values where that can be proved."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from probes.measures.operator_norms import LARGE, NormAlongLine, along_line, spectrum

SIDE = LARGE
ETAS = (1e-4, 1e-2, 0.1, 0.5, 3.0)


def standing_out(rows: int, columns: int, gap: float, seed: int) -> Tensor:
    """A random matrix whose first singular value is 1/(1 − gap) times its second."""
    draw = torch.Generator().manual_seed(seed)
    matrix = torch.randn(rows, columns, dtype=torch.float64, generator=draw)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    values[0] = values[1] / (1 - gap)
    return left * values @ right


def line(weight: Tensor, direction: Tensor, *etas: float) -> NormAlongLine:
    return NormAlongLine(weight, direction, spectrum(weight), spectrum(direction), etas)


def leading(weight: Tensor, direction: Tensor) -> along_line._Leading:
    return along_line._Leading(weight, direction, spectrum(weight), spectrum(direction))


def top(matrix: Tensor) -> float:
    return float(np.linalg.svd(matrix.numpy(), compute_uv=False)[0])


# LAPACK's largest singular value errs by a few ε times the root of the side, far below 1e-12
BELOW = 1 - 1e-12
# a bound at a knot is at most 1e-4 above, and a chord that much above what the bounds at knots allow
ABOVE = (1 + 1e-4) ** 2 * (1 + 1e-12)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 260),
    st.integers(1, 260),
    st.floats(0, 0.9),
    st.floats(0, 0.9),
    st.integers(0, 2**31),
    st.sampled_from((1.0, 1e30, 1e-30)),
)
def test_it_is_a_bound_and_a_tight_one(
    rows: int, columns: int, gap: float, other: float, seed: int, scale: float
) -> None:
    if min(rows, columns) < 2:
        rows, columns = rows + 1, columns + 1
    weight = standing_out(rows, columns, gap, seed) * scale
    direction = standing_out(rows, columns, other, seed + 1)
    direction *= weight.norm() / direction.norm()
    known = line(weight, direction, *ETAS)
    for eta in ETAS:
        moved = (weight + eta * direction).float().double()  # as a run in float32 rounds it
        rest = float((moved - weight - eta * direction).norm())
        # the bound holds for W + ηd, and the bound's own overestimate is of that
        assert top(moved) * BELOW <= known.at(eta, rest) <= top(weight + eta * direction) * ABOVE + rest


@pytest.mark.parametrize(("rows", "columns"), [(SIDE, SIDE), (300, 500), (500, 300)])
def test_what_stands_out_needs_no_singular_values(
    rows: int, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trained weight and a gradient of low rank: at small η the one stands out, at large η the other."""
    weight, direction = standing_out(rows, columns, 0.3, 0), standing_out(rows, columns, 0.95, 1)
    direction *= weight.norm() / direction.norm()
    spectra = spectrum(weight), spectrum(direction)
    monkeypatch.setattr(along_line, "spectrum", None)  # were it called, it would fail
    etas = (1e-4, 1e-2, 1.0, 10.0)
    known = NormAlongLine(weight, direction, *spectra, etas)
    for eta in etas:
        moved = weight + eta * direction
        assert top(moved) * BELOW <= known.at(eta, 0.0) <= top(moved) * ABOVE


def test_a_leading_vector_that_was_missed_is_not_believed() -> None:
    """The basis holds the second singular vector, which no product with the matrix leaves again."""
    values = torch.full((SIDE,), 0.1, dtype=torch.float64)
    values[0], values[1] = 1.0, 0.8
    weight = torch.diag(values)
    known = leading(weight, weight)
    known.vectors = torch.eye(SIDE, dtype=torch.float64)[:, 1:2]
    known.outside = [1.0, 1.0]  # of each, as far as such a vector can tell
    assert known.bound(weight * 1.5, 0.5, 0.0) is None


@pytest.mark.parametrize("gap", [0.0, 0.02, 0.5])
def test_what_is_outside_of_the_leading_vectors_is_bounded(gap: float) -> None:
    weight = standing_out(SIDE, SIDE + 40, gap, 0)
    vectors, bound = along_line._outside(weight, spectrum(weight))
    rest = weight - vectors @ (vectors.T @ weight)
    assert top(rest) * BELOW <= bound
    if gap == 0.5:
        assert bound < 0.6 * top(weight)  # the second is half as large as the first


def test_noise_is_left_to_lapack() -> None:
    """Its singular values lie too close for a few products to part them."""
    weight, noise = (standing_out(SIDE, SIDE, 0.0, seed) for seed in (0, 1))
    moved = weight + noise
    assert leading(weight, noise).bound(moved, 1.0, 0.0) is None
    assert line(weight, noise, 1.0).at(1.0, 0.0) == pytest.approx(top(moved), rel=1e-11)


def test_equal_singular_values_are_no_trouble() -> None:
    weight = torch.eye(SIDE, dtype=torch.float64)
    assert line(weight, weight, 1.0).at(1.0, 0.0) == pytest.approx(2.0, rel=1e-11)


def test_weights_and_a_direction_as_large_as_they_need_no_singular_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where each stands out alone, but neither above the other, Weyl's inequality would not do."""
    weight, direction = standing_out(SIDE, SIDE, 0.4, 0), standing_out(SIDE, SIDE, 0.6, 1)
    direction *= spectrum(weight).spectral_norm / spectrum(direction).spectral_norm
    spectra = spectrum(weight), spectrum(direction)
    monkeypatch.setattr(along_line, "spectrum", None)
    etas = (0.5, 1.0, 2.0)
    known = NormAlongLine(weight, direction, *spectra, etas)
    for eta in etas:
        moved = weight + eta * direction
        assert top(moved) * BELOW <= known.at(eta, 0.0) <= top(moved) * ABOVE


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_has_no_norm(bad: float) -> None:
    weight = standing_out(SIDE, SIDE, 0.5, 0)
    direction = weight.clone()
    direction[3, 5] = bad
    assert np.isnan(line(weight, direction, 0.1).at(0.1, 0.0))


def test_beyond_the_range_of_squares_too() -> None:
    weight = standing_out(SIDE, SIDE, 0.5, 0)
    for scale in (1e200, 1e-200):
        found = line(weight * scale, weight * scale, 0.1).at(0.1, 0.0)
        assert found == pytest.approx(1.1 * top(weight) * scale, rel=1e-4)

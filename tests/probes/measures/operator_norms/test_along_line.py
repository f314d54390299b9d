"""Norms along a line: never below, hardly above, and found without singular values where that can be proved."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from probes.measures.operator_norms import NormAlongLine, along_line, spectrum

SIDE = along_line._SMALLEST
ETAS = (1e-4, 1e-2, 0.1, 0.5, 3.0)


def standing_out(rows: int, columns: int, gap: float, seed: int) -> Tensor:
    """A random matrix whose first singular value is 1/(1 − gap) times its second."""
    draw = torch.Generator().manual_seed(seed)
    matrix = torch.randn(rows, columns, dtype=torch.float64, generator=draw)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    values[0] = values[1] / (1 - gap)
    return left * values @ right


def line(weight: Tensor, direction: Tensor) -> NormAlongLine:
    return NormAlongLine(weight, direction, spectrum(weight), spectrum(direction))


def top(matrix: Tensor) -> float:
    return float(np.linalg.svd(matrix.numpy(), compute_uv=False)[0])


# LAPACK's largest singular value errs by a few ε times the root of the side, far below 1e-12
BELOW, ABOVE = 1 - 1e-12, (1 + 1e-4) * (1 + 1e-12)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 260),
    st.integers(1, 260),
    st.floats(0, 0.9),
    st.floats(0, 0.9),
    st.integers(0, 2**31),
    st.sampled_from(ETAS),
    st.sampled_from((1.0, 1e30, 1e-30)),
)
def test_it_is_a_bound_and_a_tight_one(
    rows: int, columns: int, gap: float, other: float, seed: int, eta: float, scale: float
) -> None:
    if min(rows, columns) < 2:
        rows, columns = rows + 1, columns + 1
    weight = standing_out(rows, columns, gap, seed) * scale
    direction = standing_out(rows, columns, other, seed + 1)
    direction *= weight.norm() / direction.norm()
    moved = (weight + eta * direction).float().double()  # as a run in float32 rounds it
    rest = float((moved - weight - eta * direction).norm())
    found = line(weight, direction).at(moved, eta, rest)
    assert top(moved) * BELOW <= found <= top(moved) * ABOVE


@pytest.mark.parametrize(("rows", "columns"), [(SIDE, SIDE), (300, 500), (500, 300)])
def test_what_stands_out_needs_no_singular_values(
    rows: int, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trained weight and a gradient of low rank: at small η the one stands out, at large η the other."""
    weight, direction = standing_out(rows, columns, 0.3, 0), standing_out(rows, columns, 0.95, 1)
    direction *= weight.norm() / direction.norm()
    known = line(weight, direction)
    monkeypatch.setattr(along_line, "spectrum", None)  # were it called, it would fail
    for eta in (1e-4, 1e-2, 1.0, 10.0):
        moved = weight + eta * direction
        assert top(moved) * BELOW <= known.at(moved, eta, 1e-12) <= top(moved) * ABOVE


def test_a_leading_vector_that_was_missed_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search ends at the second singular vector, which no product with the matrix leaves again."""
    values = torch.full((SIDE,), 0.1, dtype=torch.float64)
    values[0], values[1] = 1.0, 0.8
    weight, second = torch.diag(values), torch.eye(SIDE, dtype=torch.float64)[1]
    monkeypatch.setattr(along_line, "_leading", lambda wide: second)
    assert line(weight, weight).at(weight * 1.5, 0.5, 0.0) == pytest.approx(1.5, rel=1e-11)


def test_equal_singular_values_are_left_to_lapack() -> None:
    weight = torch.eye(SIDE, dtype=torch.float64)
    known = line(weight, weight)
    assert along_line._bound(weight, known.leading, 1.0) is None  # type: ignore[arg-type]
    assert known.at(2 * weight, 1.0, 0.0) == pytest.approx(2.0, rel=1e-11)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_has_no_norm(bad: float) -> None:
    weight = standing_out(SIDE, SIDE, 0.5, 0)
    moved = weight.clone()
    moved[3, 5] = bad
    assert np.isnan(line(weight, weight).at(moved, 0.1, 0.0))


def test_beyond_the_range_of_squares_too() -> None:
    weight = standing_out(SIDE, SIDE, 0.5, 0)
    for scale in (1e200, 1e-200):
        found = line(weight * scale, weight * scale).at(weight * scale * 1.1, 0.1, 0.0)
        assert found == pytest.approx(1.1 * top(weight) * scale, rel=1e-4)

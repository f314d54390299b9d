"""Chords of a convex function: never below it, as near as was asked for, and from few of its values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.measures.operator_norms.chords import Chords

LOG = np.geomspace(1e-4, 0.5, 20).tolist()


def chords(slopes: list[float], gap: float, error: float = 0.0) -> tuple[Chords, list[float]]:
    """Of f(η) = max_k (1 + s_k η (1 + k)), known to ``error``; and where it was computed."""
    asked: list[float] = []

    def found(eta: float) -> tuple[float, float]:
        asked.append(eta)
        return value(slopes, eta) * (1 + error), value(slopes, eta) / (1 + error)

    known = Chords(value(slopes, 0.0), value(slopes, 0.0))
    known.refine(LOG, found, gap)
    return known, asked


def value(slopes: list[float], eta: float) -> float:
    return max(1 + k / 100 + slope * eta for k, slope in enumerate(slopes))


@given(st.lists(st.floats(0, 50), min_size=1, max_size=4), st.floats(1e-6, 1e-2), st.floats(0, 1e-3))
def test_they_lie_above_and_hardly(slopes: list[float], gap: float, error: float) -> None:
    known, _ = chords(slopes, gap, error)
    for eta in LOG:
        exact = value(slopes, eta)
        # each of a handful of operations rounds by 1.1e-16
        assert exact * (1 - 1e-14) <= known.above(eta) <= exact * (1 + error) * (1 + gap) * (1 + 1e-14)


def test_what_is_linear_takes_few_values() -> None:
    _, asked = chords([3.0], 1e-4)
    assert len(asked) == 2  # the last, and one between: the lines on either side of it agree


def test_no_gap_leaves_nothing_to_chords() -> None:
    known = Chords(1.0, 1.0)
    known.refine(LOG, lambda eta: (math.cosh(eta), math.cosh(eta)), 0.0)
    assert known.etas == [0.0, *LOG]


def test_what_is_not_a_number_is_not_bounded() -> None:
    known = Chords(1.0, 1.0)
    known.refine(LOG, lambda _: (math.nan, math.nan), 1e-4)
    assert all(math.isnan(known.above(eta)) for eta in LOG)


def test_a_grid_of_nothing_but_0() -> None:
    known = Chords(2.0, 2.0)
    known.refine([0.0], lambda _: pytest.fail("there is nothing to find"), 1e-4)
    assert known.above(0.0) == 2.0

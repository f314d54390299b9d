"""The cubic between two points: its margin in closed form, and slopes of polynomials."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust.hermite import return_margin, slope_through


def of_cubic(coefficients: list[float], width: float = 1.0) -> tuple[float, float]:
    """The margin of a polynomial of degree at most 3 between 0 and ``width``."""
    value, slope = np.poly1d(coefficients), np.poly1d(coefficients).deriv()
    return return_margin(
        width=width,
        before=float(value(0)),
        slope_before=float(slope(0)),
        after=float(value(width)),
        slope_after=float(slope(width)),
    )


def test_a_cubic_that_is_back_at_zero_has_no_margin() -> None:
    above = [-8.0, 8.0, -1.0]  # −1 at both ends and 1 in the middle
    margin, place = of_cubic(above)
    assert margin == 0
    assert float(np.polyval(above, place)) >= 0


def test_a_straight_line_below_zero_has_an_infinite_margin() -> None:
    assert of_cubic([-1.0, -0.5])[0] == np.inf


@pytest.mark.parametrize("width", [1e-3, 1.0, 7.0])
def test_closed_forms(width: float) -> None:
    # With u = t/width: −1 + 4h u(1 − u) lies h above its chord, so that 16 h · 16 u²(1 − u)² is allowed beside it:
    # the margin is least in the middle, where the cubic is highest, and is (1 − h) / 16 h there.
    h = 0.01
    margin, place = of_cubic([-4 * h / width**2, 4 * h / width, -1.0], width)
    assert margin == pytest.approx((1 - h) / (16 * h), rel=1e-9)
    assert place == pytest.approx(0.5)
    # −1 − 4h u(1 − u) lies h below, so that 0.4 h is allowed: (1 + h) / 0.4 h
    margin, place = of_cubic([4 * h / width**2, -4 * h / width, -1.0], width)
    assert margin == pytest.approx((1 + h) / (0.4 * h), rel=1e-9)


@given(before=st.floats(-10, 0), after=st.floats(-10, 0), down=st.floats(0, 100), up=st.floats(0, 100))
def test_where_the_cubic_is_below_its_chord_the_margin_is_above_one(
    before: float, after: float, down: float, up: float
) -> None:
    chord = after - before
    margin, _ = return_margin(
        width=1.0, before=before, slope_before=chord - down, after=after, slope_after=chord + up
    )
    # 27/64 = 0.4219 against 0.4; where both points are at 0 and it is flat, the loss is back
    assert margin > 1 or max(down, up) <= 1e-12 * (1 + abs(chord))


@given(place=st.floats(0.05, 0.95), height=st.floats(0.1, 3.0), width=st.floats(0.15, 0.5))
def test_a_bump_that_rises_at_one_point_and_falls_at_the_other_is_suspected(
    place: float, height: float, width: float
) -> None:
    """−1 and a Gaussian bump to above 0 between the points."""

    def bump(t: float) -> tuple[float, float]:
        value = (1 + height) * math.exp(-(((t - place) / width) ** 2))
        return value - 1, -2 * (t - place) / width**2 * value

    (before, rising), (after, falling) = bump(0.0), bump(1.0)
    margin, _ = return_margin(
        width=1.0, before=min(before, 0.0), slope_before=rising, after=min(after, 0.0), slope_after=falling
    )
    assert margin <= 1 or min(rising, -falling) < 0.5


def test_slopes_of_polynomials_are_exact() -> None:
    polynomial = np.poly1d([2.0, -1.0, 3.0, 0.5, -4.0])  # degree 4: five numbers, two of them slopes
    derivative = polynomial.deriv()
    points: list[tuple[float, float, float | None]] = [
        (t, float(polynomial(t)), float(derivative(t)) if known else None)
        for t, known in ((0.0, True), (0.4, False), (1.0, True))
    ]
    assert slope_through(points, 0.4) == pytest.approx(float(derivative(0.4)), rel=1e-10)
    parabola = np.poly1d([1.0, 2.0, 3.0])
    bare: list[tuple[float, float, float | None]] = [(t, float(parabola(t)), None) for t in (0.0, 1.0, 4.0)]
    assert slope_through(bare, 1.0) == pytest.approx(4.0, rel=1e-12)

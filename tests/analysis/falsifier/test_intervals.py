"""Intervals hold the true number, are narrow, and say so when they cannot tell."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from analysis.falsifier.intervals import Interval, UndecidedError, hull, interval

EXACTLY = mpmath.MPContext()
EXACTLY.prec = 500

rationals = st.builds(Fraction, st.integers(-(10**6), 10**6), st.integers(1, 10**6))
TWO = ("+", "-", "*", "/")
ONE = ("neg", "abs", "square", "cube", "inverse", "root", "third", "sqrt", "exp", "expm1", "log", "log1p")
trees = st.recursive(
    rationals,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(TWO), inner, inner),
        st.tuples(st.sampled_from((*ONE, "log10", "tanh")), inner),
    ),
    max_leaves=8,
)


class _SkipError(Exception):
    """The formula means nothing there, or is too large."""


def _true(tree: Any, sizes: list[float]) -> Any:
    """The value with 500 bits."""
    if isinstance(tree, Fraction):
        return EXACTLY.mpf(tree.numerator) / tree.denominator
    name, *parts = tree
    values = [_true(part, sizes) for part in parts]
    v = values[0]
    if (name == "/" and values[1] == 0) or (name == "inverse" and v == 0):
        raise _SkipError
    if (name in ("sqrt", "root") and v < 0) or (name in ("log", "log10", "third") and v <= 0):
        raise _SkipError
    if (name == "log1p" and v <= -1) or (name in ("exp", "expm1", "tanh") and abs(v) > 100) or abs(v) > 1e30:
        raise _SkipError
    found = {
        "+": lambda: v + values[1],
        "-": lambda: v - values[1],
        "*": lambda: v * values[1],
        "/": lambda: v / values[1],
        "neg": lambda: -v,
        "abs": lambda: abs(v),
        "square": lambda: v * v,
        "cube": lambda: v * v * v,
        "inverse": lambda: 1 / v,
        "root": lambda: EXACTLY.sqrt(v),
        "sqrt": lambda: EXACTLY.sqrt(v),
        "third": lambda: EXACTLY.exp(EXACTLY.log(v) / 3),
        "exp": lambda: EXACTLY.exp(v),
        "expm1": lambda: EXACTLY.expm1(v),
        "log": lambda: EXACTLY.log(v),
        "log1p": lambda: EXACTLY.log1p(v),
        "log10": lambda: EXACTLY.log(v) / EXACTLY.log(10),
        "tanh": lambda: EXACTLY.tanh(v),
    }[name]()
    sizes += [float(abs(v)), float(abs(found))]
    return found


def _enclosed(tree: Any) -> Any:
    if isinstance(tree, Fraction):
        return interval(tree)
    name, *parts = tree
    v, *rest = [_enclosed(part) for part in parts]
    return {
        "+": lambda: v + rest[0],
        "-": lambda: v - rest[0],
        "*": lambda: v * rest[0],
        "/": lambda: v / rest[0],
        "neg": lambda: -v,
        "abs": lambda: abs(v),
        "square": lambda: v**2,
        "cube": lambda: v**3,
        "inverse": lambda: v**-1,
        "root": lambda: v**0.5,
        "third": lambda: v ** Fraction(1, 3),
    }.get(name, lambda: getattr(v, name)())()


@settings(max_examples=400)
@given(trees)
def test_the_true_value_lies_inside(tree: Any) -> None:
    sizes: list[float] = []
    try:
        true = _true(tree, sizes)
        found = _enclosed(tree)
    except (_SkipError, UndecidedError):
        assume(False)
    slack = EXACTLY.mpf(2) ** -480 * (1 + max(sizes, default=1.0) ** 3)  # the reference's own rounding
    low, high = (EXACTLY.mpf(end.numerator) / end.denominator for end in (found.lower, found.upper))
    assert low - slack <= true <= high + slack
    if all(1e-3 < size < 1e3 for size in sizes):
        assert high - low < EXACTLY.mpf(10) ** -30


@settings(max_examples=200)
@given(rationals, rationals, rationals, rationals, st.sampled_from(TWO))
def test_wide_intervals_hold_what_their_members_give(
    a: Fraction, b: Fraction, c: Fraction, d: Fraction, operation: str
) -> None:
    one, other = hull(a, b), hull(c, d)
    function = {
        "+": lambda x, y: x + y,
        "-": lambda x, y: x - y,
        "*": lambda x, y: x * y,
        "/": lambda x, y: x / y,
    }[operation]
    if operation == "/" and min(c, d) <= 0 <= max(c, d):
        with pytest.raises(UndecidedError):
            function(one, other)
        return
    found = function(one, other)
    for x in (a, b, (a + b) / 2):
        for y in (c, d, (c + d) / 2):
            assert found.lower <= function(x, y) <= found.upper
    assert abs(hull(a, b)).lower <= min(abs(a), abs(b))
    assert (one**2).lower >= 0
    top = one.tanh()
    for x in (a, b, (a + b) / 2):
        assert top.lower - Fraction(1, 10**14) <= Fraction(math.tanh(x)) <= top.upper + Fraction(1, 10**14)


def test_comparisons_are_certain_or_undecided() -> None:
    low, high = interval(Fraction(1, 3)), interval(Fraction(2, 3))
    assert low < high <= 1
    assert high > low >= 0
    assert low != high
    assert not low == high  # noqa: SIM201
    assert interval(2) == 2
    assert interval(2) <= 2
    for compare in (
        lambda: low < Fraction(1, 3),
        lambda: hull(0, 2) > 1,
        lambda: hull(0, 2) == hull(0, 2),
        lambda: hull(0, 1) < hull(1, 2),
        lambda: max(hull(0, 2), hull(1, 3)),
    ):
        with pytest.raises(UndecidedError):
            compare()
    with pytest.raises(TypeError):
        _ = low < "text"  # type: ignore[operator]
    assert low != "text"


def test_what_cannot_be_decided() -> None:
    around_zero = hull(-1, 1)
    for function in (
        lambda: 1 / around_zero,
        lambda: interval(1) / 0,
        lambda: 1 / interval(0),
        lambda: around_zero**-1,
        lambda: interval(-1).sqrt(),
        lambda: around_zero.log(),
        lambda: interval(0).log10(),
        lambda: interval(-2).log1p(),
        lambda: around_zero**0.3,
        lambda: 0.0**around_zero,
    ):
        with pytest.raises(UndecidedError):
            function()
    assert hull(-1, 4).sqrt().lower == 0  # what is below 0 cannot be meant
    assert hull(-1, 4).sqrt().upper == 2


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_what_is_infinite_has_no_end(number: float) -> None:
    """It once read as 0."""
    for side in ("lower", "upper"):
        with pytest.raises(UndecidedError):
            getattr(interval(number), side)


def test_what_would_fill_the_memory_has_no_end() -> None:
    with pytest.raises(UndecidedError):
        _ = interval(10**12).exp().upper
    assert interval(1000).exp().lower > 10**434


def test_a_formula_cannot_lose_the_interval_unseen() -> None:
    with pytest.raises(TypeError):
        float(interval(1))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        np.array([interval(1)], dtype=object).astype(np.float64)
    assert interval(Fraction(1, 4)).middle == 0.25
    assert repr(hull(1, 2)) == "[1.0, 2.0]"


def test_powers() -> None:
    third = interval(Fraction(1, 3))
    assert (hull(-1, 2) ** 2).lower == 0
    assert (hull(-1, 2) ** 2.0).upper == 4  # a whole power, though a float
    assert (third**0).lower == 1
    assert (10.0**third).lower ** 3 < 10 < (10.0**third).upper ** 3
    assert (third**-2).lower <= 9 <= (third**-2).upper
    with pytest.raises(TypeError):
        third ** "2"  # type: ignore[operator]
    with pytest.raises(TypeError):
        third**third


def test_numbers_of_other_kinds() -> None:
    assert interval(0.1).lower == Fraction(0.1)  # the float that it is
    large = 10**400 + 1
    assert interval(large).lower <= large <= interval(large).upper
    third = interval(Fraction(1, 3))
    assert third.lower < Fraction(1, 3) < third.upper
    for wrong in ("1", None, 1j):
        with pytest.raises(TypeError):
            interval(wrong)


def test_numpys_functions_take_arrays_of_intervals() -> None:
    values = [Fraction(1, 3), Fraction(5, 7), Fraction(2)]
    array = np.empty(3, dtype=object)
    array[:] = [interval(value) for value in values]
    floats = np.array([float(value) for value in values])
    for name in ("sqrt", "log", "log10", "exp", "expm1", "log1p", "tanh", "abs", "negative"):
        function = getattr(np, name)
        for found, wanted in zip(function(array), function(floats), strict=True):
            assert isinstance(found, Interval)
            assert found.middle == pytest.approx(wanted, rel=1e-14)
    matrix = np.stack([array, array[::-1]])
    product = matrix @ array
    assert product[0].lower <= sum(value**2 for value in values) <= product[0].upper
    assert array.sum().lower <= sum(values) <= array.sum().upper
    assert array.prod().lower <= math.prod(values) <= array.prod().upper
    assert array.max() is array[2]
    assert (np.array([1, 2, 3]) * array)[2].middle == 6.0
    assert (array * np.float64(0.5))[2].middle == 1.0
    assert (np.float64(2.0) / array)[2].middle == 1.0
    assert (2.0**array)[2].middle == 4.0


def test_tiny_and_huge_numbers() -> None:
    tiny = interval(Fraction(1, 10**300))
    assert tiny.tanh().lower <= tiny.upper
    assert abs(tiny.tanh().upper) < Fraction(1, 10**40)
    assert interval(10**30).tanh().upper == 1
    assert 1 - interval(10**30).tanh().lower < Fraction(1, 10**40)
    assert (tiny / 10**300).upper > 0

"""Exact arithmetic: singular values that are proved, and the same numbers as in floats."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest

from analysis.falsifier.exact import (
    ExactTrial,
    Objects,
    _eigenvalues_above,
    singular_value_bounds,
    slope_of,
    transmission_of,
)
from analysis.falsifier.intervals import Interval, UndecidedError, hull, interval
from analysis.falsifier.numbers import exact_trial, float_trial
from tests.analysis.falsifier import examples
from trust.activations import transmission

MP = mpmath.MPContext()
MP.prec = 300


def singular_values(matrix: Objects) -> list[Any]:
    """With 300 bits, largest first."""
    found = MP.svd_r(
        MP.matrix([[MP.mpf(v.numerator) / v.denominator for v in row] for row in matrix]), compute_uv=False
    )
    return sorted(found, reverse=True)


def _whole(rows: list[list[Any]]) -> Objects:
    return np.array([[Fraction(value) for value in row] for row in rows], dtype=object)


def _random(rows: int, columns: int, seed: int) -> Objects:
    rng = np.random.default_rng(seed)
    values = [Fraction(int(n), int(d)) for n, d in rng.integers(1, 50, (rows * columns, 2))]
    signs = rng.choice([-1, 1], rows * columns)
    return np.array([v * int(s) for v, s in zip(values, signs, strict=True)], dtype=object).reshape(
        rows, columns
    )


def _of_rank_one(size: int) -> Objects:
    return np.outer(_random(1, size, 1)[0], _random(1, size, 2)[0])


MATRICES = {
    **{f"{m}x{n}": _random(m, n, 10 * m + n) for m in (1, 2, 3, 4) for n in (1, 2, 3, 5)},
    "6x6": _random(6, 6, 66),
    "identity": _whole([[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
    "orthogonal": _whole([["3/5", "4/5"], ["-4/5", "3/5"]]),
    "reflection": _whole([[0, 1, 0], [1, 0, 0], [0, 0, -1]]),
    "repeated": _whole([[2, 0, 0], [0, 2, 0], [0, 0, 5]]),
    "rank 1": _of_rank_one(3),
    "rank 2": _whole([[1, 2, 3], [4, 5, 6], [7, 8, 9]]),
    "a column of zeros": _whole([[1, 0], [2, 0], [3, 0]]),
    "tiny": _random(3, 3, 5) * Fraction(1, 10**200),
    "huge": _random(3, 3, 6) * 10**200,
    "both": _whole([[10**12, 1], [1, 1]]),
}


@pytest.mark.parametrize("name", MATRICES)
def test_singular_values_are_enclosed(name: str) -> None:
    matrix = MATRICES[name]
    exact = singular_values(matrix)
    slack = exact[0] * MP.mpf(10) ** -60  # the reference's own rounding
    for found, true in zip(singular_value_bounds(matrix), (exact[0], exact[-1]), strict=True):
        low, high = (MP.mpf(end.numerator) / end.denominator for end in (found.lower, found.upper))
        assert low - slack <= true <= high + slack
        # what is proved is the eigenvalue of the Gram matrix, to about 1e-14 of the largest
        assert high**2 - low**2 <= exact[0] ** 2 * MP.mpf(10) ** -13


def test_zero_matrices() -> None:
    for shape in ((1, 1), (1, 3), (2, 2), (3, 2)):
        largest, smallest = singular_value_bounds(np.full(shape, Fraction(0), dtype=object))
        assert largest.lower == largest.upper == smallest.lower == smallest.upper == 0


def test_a_matrix_of_deficient_rank_has_no_finite_condition_number() -> None:
    numbers = examples.random_numbers((2, 2), "identity", 0)
    numbers.weights[0] = _whole([[1, 2], [2, 4]])
    with pytest.raises(UndecidedError):
        exact_trial(numbers).condition(numbers.weights[0])


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0 + 1e-9, 2.0, -1.0, np.nan])
@pytest.mark.parametrize("which", ["largest", "smallest", "all"])
def test_wrong_guesses_are_not_believed(monkeypatch: pytest.MonkeyPatch, factor: float, which: str) -> None:
    true = np.linalg.eigvalsh

    def lie(matrix: Any) -> Any:
        values = true(matrix)
        place = {"largest": slice(-1, None), "smallest": slice(0, 1), "all": slice(None)}[which]
        values[place] *= factor
        return values

    matrix = _random(3, 3, 9)
    exact = singular_values(matrix)
    monkeypatch.setattr(np.linalg, "eigvalsh", lie)
    try:
        found = singular_value_bounds(matrix)
    except (UndecidedError, ValueError):  # ValueError: NaN is no fraction
        return
    for bounds, sigma in zip(found, (exact[0], exact[-1]), strict=True):
        assert float(bounds.lower) <= float(sigma) * (1 + 1e-15)
        assert float(bounds.upper) >= float(sigma) * (1 - 1e-15)


def test_eigenvalues_are_counted() -> None:
    gram = _whole([[2, 1, 0], [1, 2, 0], [0, 0, 7]])  # 1, 3, 7
    for place, count in ((Fraction(1, 2), 3), (Fraction(5, 2), 2), (Fraction(5), 1), (Fraction(8), 0)):
        assert _eigenvalues_above(gram, place) == count
    with pytest.raises(ZeroDivisionError):
        _eigenvalues_above(gram, Fraction(2))


def _agree(inexact: Any, exact: Any, size: float = 1.0) -> None:
    there = exact.middle if isinstance(exact, Interval) else float(exact)
    here = float(inexact)
    assert abs(here - there) <= 1e-12 * max(size, abs(there)), (here, there)


@pytest.mark.parametrize(("id", "activation", "widths"), examples.cases())
def test_both_arithmetics_agree(id: str, activation: str, widths: tuple[int, ...]) -> None:
    form = examples.form(id)
    floats, exact = examples.trials(form, widths, activation)
    exact_sides = form.sides(exact)
    margins = [condition.margin(exact) for condition in form.conditions]
    sides = form.sides(floats)
    _agree(sides[0], exact_sides[0])
    if id == "lemma1":  # the maximum along the step: over a grid, and from above
        assert float(sides[1]) <= float(interval(exact_sides[1]).upper) * (1 + 1e-12)
        assert interval(exact_sides[1]).upper <= 2 * Fraction(float(sides[1])) + Fraction(1, 10**9)
    else:
        _agree(sides[1], exact_sides[1])
    for condition, margin in zip(form.conditions, margins, strict=True):
        if condition.name == "no faster than D":
            assert float(condition.margin(floats)) >= float(interval(margin).lower) - 1e-12
        else:
            _agree(condition.margin(floats), margin)


@pytest.mark.parametrize("activation", ["identity", "relu", "leaky_relu:0.25", "leaky_relu:1.5", "tanh"])
def test_a_maximum_along_the_step_is_bounded_from_above(activation: str) -> None:
    numbers = examples.random_numbers((2, 2, 2), activation, 3, step=2)
    exact, floats = exact_trial(numbers), float_trial(examples.in_floats(numbers))

    def turned(trial: Any, t: Any, k: int) -> Any:
        return trial.norm(trial.gradients(trial.partway(t))[k] - trial.gradients(trial.weights)[k])

    for k in range(2):
        bound = exact.along_step(lambda t, k=k: turned(exact, t, k))
        fine = max(float(turned(floats, t, k)) for t in np.linspace(0, 1, 301))
        assert fine <= float(bound.upper) * (1 + 1e-12)
        assert float(bound.upper) <= 1.5 * fine


def test_kinks_are_undecided() -> None:
    trial = exact_trial(examples.random_numbers((1, 1), "leaky_relu:0.25", 0))
    zero = np.array([Fraction(0)], dtype=object)
    for at_zero in (zero, np.array([interval(0)], dtype=object)):
        with pytest.raises(UndecidedError):
            trial.gate(at_zero)
    across = np.array([hull(-1, 2)], dtype=object)
    assert (trial.gate(across)[0].lower, trial.gate(across)[0].upper) == (Fraction(1, 4), 1)
    assert (trial.phi(across)[0].lower, trial.phi(across)[0].upper) == (Fraction(-1, 4), 2)
    assert trial.phi(zero)[0] == 0
    smooth = exact_trial(examples.random_numbers((1, 1), "identity", 0))
    assert smooth.gate(zero)[0] == 1
    tanh = exact_trial(examples.random_numbers((1, 1), "tanh", 0))
    assert tanh.gate(zero)[0].middle == pytest.approx(1)


def test_numbers_of_activations() -> None:
    assert slope_of("leaky_relu:0.1") == Fraction(1, 10)
    assert slope_of("leaky_relu") == Fraction(1, 100)
    assert slope_of("tanh") is None
    for name in ("identity", "relu", "tanh", "leaky_relu:0.25", "leaky_relu:1.5"):
        alpha, beta = transmission_of(name)
        known = transmission(name)
        assert float(alpha) == pytest.approx(known.alpha, abs=1e-9)
        assert float(beta) == pytest.approx(known.beta, abs=1e-9)
    slopes = (
        "1/2",
        "1/0",
        "1e999999999",
        "-0.1",
        "nan",
        "inf",
        "x",
        "0.1 ",
        "٣",
        "1" * 10**6,
        "1e-999999999",
    )
    for wrong in (*(f"leaky_relu:{slope}" for slope in slopes), "gelu", "relu:1", "", "tanh:0.1"):
        with pytest.raises(ValueError, match="activation"):
            slope_of(wrong)


def test_the_largest_and_the_common_part() -> None:
    trial = exact_trial(examples.random_numbers((1, 1), "relu", 0))
    assert isinstance(trial, ExactTrial)
    top = trial.maximum(hull(0, 3), hull(1, 2), Fraction(-5))
    assert (top.lower, top.upper) == (1, 3)
    low = trial.smallest_of(hull(0, 3), hull(1, 2))
    assert (interval(low).lower, interval(low).upper) == (0, 2)
    one = np.array([Fraction(v) for v in (1, -2, 3, 0)], dtype=object)
    other = np.array([Fraction(v) for v in (2, -1, -3, 5)], dtype=object)
    assert list(trial.common(one, other)) == [1, -1, 0, 0]

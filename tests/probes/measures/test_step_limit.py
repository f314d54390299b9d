"""The step limit on losses whose limit is known in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from probes.measures.step_limit import StepLimit, find_step_limit

ACCURACY = 1e-2


def counted(loss: Callable[[float], float]) -> tuple[Callable[[float], float], list[float]]:
    asked: list[float] = []

    def call(eta: float) -> float:
        asked.append(eta)
        return loss(eta)

    return call, asked


def search(
    loss: Callable[[float], float], slope: float, guess: float, known: dict[float, float] | None = None
) -> StepLimit:
    """Search, and check that the count is honest and no η is evaluated twice."""
    call, asked = counted(loss)
    found = find_step_limit(call, start=loss(0.0), slope=slope, guess=guess, known=known)
    assert found.evaluations == len(asked) == len(set(asked))
    assert not set(asked) & set(known or {})
    return found


@pytest.mark.parametrize("scale", [1e-3, 1e-2, 0.1, 1.0])
@pytest.mark.parametrize("error", [0.2, 0.8, 1.0, 1.3, 4.0])  # the guess, in units of the limit
def test_quadratic(scale: float, error: float) -> None:
    slope, curvature = -3.0, 6.0 / scale
    limit = 2 * -slope / curvature
    found = search(lambda eta: 2 + slope * eta + curvature * eta**2 / 2, slope, error * limit)
    assert found.measured == pytest.approx(limit, rel=ACCURACY)
    assert found.evaluations <= 5  # three after the guess: in these coordinates it is a straight line
    assert found.searched_to >= limit * (1 - ACCURACY)


def test_cubic() -> None:
    # −η + 4η³ is back at 0 at η = ½; its curvature at 0 vanishes, so there is no good guess
    found = search(lambda eta: 1 - eta + 4 * eta**3, -1.0, 0.1)
    assert found.measured == pytest.approx(0.5, rel=ACCURACY)
    assert found.evaluations <= 9


def test_exploding() -> None:
    # e^{kη} − 1 − (k+1)η vanishes where e^{kη} = 1 + (k+1)η: for k = 60 solved by bisection here
    k = 60.0

    def loss(eta: float) -> float:
        return math.exp(k * eta) - (k + 1) * eta

    low, high = 1e-6, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if loss(middle) < loss(0) else (low, middle)
    found = search(loss, -1.0, 2 / k**2)
    assert found.measured == pytest.approx(low, rel=ACCURACY)
    assert found.evaluations <= 9


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_a_loss_that_is_no_number_beyond_the_cliff_has_risen(bad: float) -> None:
    found = search(lambda eta: 1 - eta if eta < 0.3 else bad, -1.0, 1.0)
    assert found.measured == pytest.approx(0.3, rel=ACCURACY)


def test_never_back() -> None:
    found = search(lambda eta: math.exp(-eta), -1.0, 0.1)
    assert math.isnan(found.measured)
    assert found.searched_to == 8
    assert found.evaluations <= 9


def test_no_descent() -> None:
    for slope in (0.0, 1.0):
        found = search(lambda eta, slope=slope: 1 + slope * eta + eta**2, slope, 0.1)  # type: ignore[misc]
        assert (found.measured, found.evaluations) == (0.0, 0)
    # a slope that says descent where no loss shows it: a kink at the starting point itself
    assert search(lambda eta: 1 + eta, -1.0, 0.1).measured == 0


@pytest.mark.parametrize(
    ("start", "slope"), [(math.nan, -1.0), (math.inf, -1.0), (1.0, math.nan), (1.0, -math.inf)]
)
def test_a_start_that_is_no_number_has_no_limit(start: float, slope: float) -> None:
    found = find_step_limit(lambda eta: 1.0, start=start, slope=slope, guess=0.1)
    assert math.isnan(found.measured)


@pytest.mark.parametrize("second", [0.13, 0.3])
def test_a_known_grid_brackets_the_first_return(second: float) -> None:
    # three roots; the loss falls from 0 and the first of them counts
    def loss(eta: float) -> float:
        return 1 + 100 * eta * (eta - 0.1) * (eta - second) * (eta - 0.5)

    grid = np.linspace(0.02, 0.6, 30).tolist()
    found = search(loss, -5 * second, 0.4, known={eta: loss(eta) for eta in grid})
    assert found.measured == pytest.approx(0.1, rel=ACCURACY)
    assert found.evaluations <= 6


def test_a_grid_that_ends_too_early_or_starts_too_late() -> None:
    def loss(eta: float) -> float:
        return 1 - eta + eta**2 / 0.2

    early = search(loss, -1.0, 0.2, known={0.001: loss(0.001), 0.01: loss(0.01)})
    late = search(loss, -1.0, 0.2, known={0.5: loss(0.5), 1.0: loss(1.0)})
    assert early.measured == pytest.approx(0.2, rel=ACCURACY)
    assert late.measured == pytest.approx(0.2, rel=ACCURACY)


@pytest.mark.parametrize("power", [1.0, 2.0, 7.0, 40.0])
@pytest.mark.parametrize("limit", [1e-3, 0.02, 0.7])
@pytest.mark.parametrize("dip", [0.0, 0.5])
def test_walls_of_any_steepness_cost_little(power: float, limit: float, dip: float) -> None:
    """A descent steeper than its tangent, and then a wall; ``probe limit`` itself evaluates three times more."""

    def loss(eta: float) -> float:
        u = eta / limit
        return 1 - eta * (1 + dip * min(u, 1.0) - (1 + dip) * u**power)

    found = search(loss, -1.0, 2 * limit, known={1e-4: loss(1e-4)})
    assert found.measured == pytest.approx(limit, rel=ACCURACY)
    assert found.evaluations <= 10

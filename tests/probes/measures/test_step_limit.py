"""The step limit on losses whose limit is known in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.measures.step_limit import LOOKS, StepLimit, find_step_limit

ACCURACY = 1e-2


def counted(loss: Callable[[float], float]) -> tuple[Callable[[float], float], list[float]]:
    asked: list[float] = []

    def call(eta: float) -> float:
        asked.append(eta)
        return loss(eta)

    return call, asked


def search(
    loss: Callable[[float], float],
    slope: float,
    guess: float,
    known: dict[float, float] | None = None,
    slopes: dict[float, float] | None = None,
) -> StepLimit:
    """Search, and check that the count is honest, no η is evaluated twice, and what is said of the η is so."""
    call, asked = counted(loss)
    found = find_step_limit(call, start=loss(0.0), slope=slope, guess=guess, known=known, slopes=slopes)
    assert found.evaluations == len(asked) == len(set(asked))
    assert not set(asked) & set(known or {})
    etas = sorted({*asked, *(known or {})} - {0.0})
    if not math.isnan(found.resolution):
        assert (found.searched_from, found.searched_to) == (etas[0], etas[-1])
        below = [eta for eta in etas if not eta > found.measured]
        factors = [after / before for before, after in pairwise(below)]
        assert found.resolution == pytest.approx(max(factors, default=1.0), rel=ACCURACY)
        end = found.searched_to if math.isnan(found.measured) else found.measured
        assert found.clear_to in (0.0, *below, end)
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
    leaps = math.log(limit / 1e-4, 4)  # no neighbours are left further apart than a factor of 4
    assert found.resolution <= 4
    assert found.evaluations <= 10 + leaps


GRID = np.geomspace(1e-4, 1.0, 20).tolist()  # as probe run's --etas log


def bumps(eta: float, places: Sequence[tuple[float, float, float]], limit: float) -> tuple[float, float]:
    """Loss and slope of 1 − η + η²/limit with Gaussian bumps (height, place, width), less what they are at 0."""
    loss, slope = 1 - eta + eta**2 / limit, -1 + 2 * eta / limit
    for height, place, width in places:
        bump = height * math.exp(-(((eta - place) / width) ** 2))
        loss += bump - height * math.exp(-((place / width) ** 2))
        slope += -2 * (eta - place) / width**2 * bump
    return loss, slope


def first_return(loss: Callable[[float], float], end: float = 1.0) -> float:
    """The first root of the loss above its start on 200,000 points of this test's own."""
    etas = np.linspace(0, end, 200_001)[1:]
    rises = np.array([loss(eta) for eta in etas.tolist()]) >= loss(0.0)
    return float(etas[rises.argmax()]) if rises.any() else math.nan


def test_a_bump_between_grid_points_is_the_first_return() -> None:
    # the loss is back at 0.0091, between the grid's 0.0078 and 0.0127, and falls again until 0.333
    places = [(0.0203, 0.0102, 0.0012)]

    def loss(eta: float) -> float:
        return bumps(eta, places, 0.333)[0]

    limit = first_return(loss, 0.02)
    assert limit == pytest.approx(0.0091, rel=0.01)
    assert all(loss(eta) < 1 for eta in GRID if eta < 0.333)  # the grid's losses show nothing
    known = {eta: loss(eta) for eta in GRID}
    slopes = {eta: bumps(eta, places, 0.333)[1] for eta in GRID}
    found = search(loss, -1.0, 0.3, known, slopes)
    assert found.measured == pytest.approx(limit, rel=ACCURACY)
    assert found.evaluations <= 8
    blind = find_step_limit(loss, start=1.0, slope=-1.0, guess=0.3, known=known)  # without slopes at the grid
    assert blind.measured == pytest.approx(0.333, rel=ACCURACY)


@pytest.mark.parametrize("second", [0.05, 0.07, 0.2])
def test_of_several_returns_between_grid_points_the_first_counts(second: float) -> None:
    places = [(0.04, 0.0165, 0.0025), (0.1, second, 0.15 * second)]

    def loss(eta: float) -> float:
        return bumps(eta, places, 0.5)[0]

    known = {eta: loss(eta) for eta in GRID}
    slopes = {eta: bumps(eta, places, 0.5)[1] for eta in GRID}
    limit = first_return(loss, 0.03)
    assert search(loss, -1.0, 0.3, known, slopes).measured == pytest.approx(limit, rel=ACCURACY)


@pytest.mark.parametrize("noise", [0.0, 1e-15, 1e-9])
def test_flat_and_noisy_losses_end_within_the_budget(noise: float) -> None:
    """Of a loss that is all rounding nothing can be found, but in bounded time, and what is said is so."""
    rng = np.random.default_rng(0)
    values = {eta: 1 + noise * float(rng.standard_normal()) for eta in GRID}
    slopes = {eta: noise * float(rng.standard_normal()) for eta in GRID}

    def loss(eta: float) -> float:
        if eta == 0:
            return 1.0
        return values.setdefault(eta, 1 + noise * float(rng.standard_normal()))

    found = search(loss, -1e-9, 0.1, {eta: values[eta] for eta in GRID}, slopes)
    assert found.evaluations <= LOOKS + 45  # and from the first grid point down to 1e-12 by factors of 4
    falling = search(lambda eta: 1 - 1e-9 * eta, -1e-9, 0.1)  # flat, but it falls
    assert math.isnan(falling.measured)


def test_what_remains_possible_is_said() -> None:
    places = [(0.0203, 0.0102, 0.0012)]  # as above
    known = {eta: bumps(eta, places, 0.333)[0] for eta in GRID}
    slopes = {eta: bumps(eta, places, 0.333)[1] for eta in GRID}

    def loss(eta: float) -> float:
        return bumps(eta, places, 0.333)[0]

    unseen = find_step_limit(loss, start=1.0, slope=-1.0, guess=0.3, known=known, slopes=slopes, looks=0)
    assert unseen.measured == pytest.approx(0.333, rel=ACCURACY)
    assert unseen.clear_to == GRID[9] < 0.0091  # and not up to 0.333
    seen = search(loss, -1.0, 0.3, known, slopes)
    assert seen.clear_to == seen.measured
    assert seen.resolution == pytest.approx(GRID[1] / GRID[0])


def test_between_the_points_of_an_ordinary_slice_nothing_is_possible() -> None:
    known = {eta: 1 - eta + eta**2 / 0.2 for eta in GRID}
    slopes = {eta: -1 + 2 * eta / 0.2 for eta in GRID}
    found = search(lambda eta: 1 - eta + eta**2 / 0.2, -1.0, 0.2, known, slopes)
    assert found.clear_to == found.measured == pytest.approx(0.2, rel=ACCURACY)
    assert found.evaluations <= 3


@given(
    places=st.lists(
        st.tuples(st.floats(0.001, 0.2), st.floats(1e-3, 0.5), st.floats(0.05, 0.5)), min_size=0, max_size=3
    ),
    limit=st.floats(0.01, 2.0),
    with_slopes=st.booleans(),
)
def test_no_known_return_lies_below_the_limit(
    places: list[tuple[float, float, float]], limit: float, with_slopes: bool
) -> None:
    """Whatever the loss: at no η that was evaluated, and between no two, does the data show an earlier return."""
    widths = [(height, place, share * place) for height, place, share in places]
    slope = bumps(0.0, widths, limit)[1]
    slopes = {eta: bumps(eta, widths, limit)[1] for eta in GRID} if with_slopes else None
    asked: dict[float, float] = {eta: bumps(eta, widths, limit)[0] for eta in GRID}
    known = dict(asked)

    def loss(eta: float) -> float:
        asked[eta] = bumps(eta, widths, limit)[0]
        return asked[eta]

    start = bumps(0.0, widths, limit)[0]
    found = find_step_limit(loss, start=start, slope=slope, guess=limit, known=known, slopes=slopes)
    if slope >= 0:
        assert found.measured == 0
        return
    risen = [eta for eta, value in asked.items() if value >= start]
    assert not risen or found.measured <= min(risen)
    assert not math.isnan(found.measured) or not risen

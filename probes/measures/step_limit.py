"""The measured step limit: the smallest η > 0 found at which the loss is back at its starting value."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from probes.measures.loss_search import LossSearch
from probes.measures.measure import Floats, Found, Frozen, Measure
from probes.measures.settings import SliceSettings
from trust import measurements as variables

__all__ = ["LOOKS", "MeasuredStepLimit", "StepLimit", "find_step_limit"]


LOOKS = 16
"""How many losses are spent on returns that the known ones leave possible, unless told otherwise."""
_FARTHEST = 4.0
"""How many times as far the search looks at once where the loss has not returned yet."""
_JUST_BEYOND = 1.02
"""How many times as far as where the known losses point, so that the loss is likely to have risen there."""
_BLIND = 12.0
"""Above e to this power times the tangent's descent, a loss tells nothing of where it turned up."""
_NEAR = 1e-3
"""The η whose slope, where it is measured, tells the curvature for the first guess."""
_GUESS = 0.1
"""That guess where nothing tells it."""


@dataclass
class StepLimit:
    """What the search found.

    Attributes:
        measured: the limit; 0 where the loss rises at once, NaN where it did not return, or is not a number.
        searched_to: the largest η that was evaluated.
        evaluations: how many losses the search itself evaluated.
        searched_from: the smallest η that was evaluated.
        resolution: the largest factor between neighbouring η that were evaluated, from there to the limit.
        clear_to: up to which of them losses and slopes allow no return that was not looked for.
    """

    measured: float
    searched_to: float
    evaluations: int
    searched_from: float = math.nan
    resolution: float = math.nan
    clear_to: float = math.nan


def find_step_limit(
    loss: Callable[[float], float],
    *,
    start: float,
    slope: float,
    guess: float,
    known: dict[float, float] | None = None,
    slopes: dict[float, float] | None = None,
    largest: float = 8.0,
    tolerance: float = 9.5e-3,
    looks: int = LOOKS,
) -> StepLimit:
    """Find the smallest root η > 0 of 𝓛(η) − 𝓛(0), bracketed by known losses and refined by Brent's method.

    The root is sought in log η, for log q(η) (:meth:`probes.measures.loss_search.LossSearch.height`).

    The first return *found*: between two neighbouring η where losses and slopes allow a return, by the cubic
    through them with room for its error (:func:`trust.hermite.return_margin`), the loss is evaluated where
    the cubic is nearest to it, and again between what is neighbouring then, until none is allowed, neighbours are
    within twice the tolerance, or ``looks`` evaluations are spent. A bump that no slope beside it tells of is
    not found: ``resolution`` says how wide it may be.

    Args:
        loss: full-batch loss as a function of η.
        start: 𝓛(0).
        slope: 𝓛'(0) along the slice; where it is not negative there is no descent and the limit is 0.
        guess: where to look first when nothing is known, for instance the slice-curvature limit.
        known: losses already measured on a grid.
        slopes: 𝓛'(η) where it was measured; elsewhere a polynomial through the neighbours tells it.
        largest: give up beyond this η.
        tolerance: relative accuracy of the limit.
        looks: how many losses may be spent on returns that the known ones leave possible.
    """
    before = {eta: value - start for eta, value in (known or {}).items() if eta > 0}
    grid_end = max(before, default=0.0)
    if not (math.isfinite(start) and math.isfinite(slope)):
        return StepLimit(math.nan, grid_end, 0)
    if slope >= 0:
        return StepLimit(0.0, grid_end, 0)
    told = {eta: value for eta, value in (slopes or {}).items() if eta in before and math.isfinite(value)}
    search = LossSearch(loss, start, slope, before, told)
    narrowest = math.exp(2 * tolerance)
    while True:
        low, high = _bracket(search, guess, largest)
        if low is None:
            return StepLimit(0.0, max(search.known), search.evaluations)
        place = search.possible(narrowest=narrowest) if looks > 0 else None
        where = search.leap() if place is None else place
        if where is not None:
            looks -= place is not None
            search.rise(where)
        elif high is None or search.rise(high) == 0 or high <= narrowest * low:
            break
        else:
            _refine(search, low, high, tolerance)
            if (low, high) == (search.fallen(), search.risen()):
                break
    found = math.nan if high is None else _root(search, low, high, tolerance)
    searched_to = max(search.known)
    return StepLimit(
        found,
        searched_to,
        search.evaluations,
        min(search.known),
        search.resolution(),
        min(search.clear_to(narrowest=narrowest), searched_to if high is None else found),
    )


def _refine(search: LossSearch, low: float, high: float, tolerance: float) -> None:
    """Evaluate the loss between a fallen and a risen η until they are within the tolerance of each other."""
    # Halve the bracket in log η while its upper end is so high that interpolation would be blind.
    while math.log(high / low) > 2 * tolerance and search.height(high) > _BLIND:
        middle = math.sqrt(low * high)
        if search.rise(middle) < 0:
            low = middle
        else:
            high = middle
    if math.log(high / low) > 2 * tolerance:
        from scipy.optimize import brentq  # slow to load

        ends = {math.log(low): low, math.log(high): high}  # whose exponentials may be other numbers
        # Brent's method ends with a bracket narrower than xtol; what lies in its middle part is near both ends.
        brentq(
            lambda log_eta: search.height(ends.get(log_eta, math.exp(log_eta))),
            math.log(low),
            math.log(high),
            xtol=2 * tolerance,
            rtol=1e-12,
        )


def _root(search: LossSearch, low: float, high: float, tolerance: float) -> float:
    """Where the line through two neighbouring heights is 0, within the tolerance of both if they are that near."""
    if search.rise(high) == 0:
        return high
    within = math.exp(tolerance)
    return min(max(search.line(low, high), high / within), low * within)


def _bracket(search: LossSearch, guess: float, largest: float) -> tuple[float | None, float | None]:
    """The last η known to descend below the first known to have risen.

    Returns:
        (low, high); high is None where the loss never returned, low is None where no descent can be seen.
    """
    if not search.known:
        search.rise(min(max(guess, 1e-6), largest) if math.isfinite(guess) else largest)
    if search.risen() is None:
        before = max(search.known)
        near = search.line(max((eta for eta in search.known if eta < before), default=before), before)
        if near < 2 * before:  # believed where it is no farther
            eta = _JUST_BEYOND * max(near, before)
        else:
            eta = max(guess, 2 * before) if math.isfinite(guess) else 2 * before
        eta = min(eta, largest)
        while search.rise(eta) < 0:
            if eta >= largest:
                return eta, None
            before, eta = eta, min(_beyond(search, before, eta), largest)
    high = search.risen()
    assert high is not None, "the loop ends where the loss has risen"
    low = search.fallen() or high / 4
    while search.rise(low) >= 0:
        high, low = low, low / 4
        if low < 1e-12:
            return None, high
    return low, high


def _beyond(search: LossSearch, before: float, eta: float) -> float:
    """A little beyond where the line through the last two heights is 0: at least a tenth farther."""
    return min(max(_JUST_BEYOND * search.line(before, eta), 1.1 * eta), _FARTHEST * eta)


class MeasuredStepLimit(Measure):
    """The step limit on a line, by root finding from what the grid and the curvature tell."""

    name = "step-limit"
    finds = (
        variables.STEP_LIMIT,
        variables.STEP_LIMIT_SEARCHED_TO,
        variables.STEP_LIMIT_EVALUATIONS,
        variables.STEP_LIMIT_SEARCHED_FROM,
        variables.STEP_LIMIT_RESOLUTION,
        variables.STEP_LIMIT_CLEAR_TO,
    )
    uses = (variables.LOSS, variables.SLOPE, variables.CURVATURE, variables.PREDICTED_LIMIT)

    @classmethod
    def by_default(cls, settings: SliceSettings) -> bool:
        """Unless ``--no-limit``."""
        return settings.limit

    @classmethod
    def fits(cls, frozen: Frozen) -> bool:
        """On a line: where every η has a perturbation of its own there is no limit."""
        return frozen.direction is not None

    def found(self, others: Found) -> Found:
        """Search for it."""
        frozen, etas = self.frozen, self.frozen.etas
        losses, slopes = (np.asarray(others.get(name, [])) for name in (variables.LOSS, variables.SLOPE))
        curvature = float(np.asarray(others.get(variables.CURVATURE, math.nan)))
        guess = _quadratic_limit(frozen.slope, curvature, etas, slopes)
        known, told = (
            dict(zip(etas[1:].tolist(), values[1:].tolist(), strict=True)) if len(values) else {}
            for values in (losses, slopes)
        )
        for look in frozen.looks:
            known.setdefault(look.eta, look.loss)
            told.setdefault(look.eta, look.slope)
        limit = frozen.evaluator.share.led(
            lambda loss: find_step_limit(
                loss, start=frozen.base.loss, slope=frozen.slope, guess=guess, known=known, slopes=told
            ),
            frozen.path.loss,
        )
        return {
            variables.STEP_LIMIT: limit.measured,
            variables.STEP_LIMIT_SEARCHED_TO: limit.searched_to,
            variables.STEP_LIMIT_EVALUATIONS: float(limit.evaluations),
            variables.STEP_LIMIT_SEARCHED_FROM: limit.searched_from,
            variables.STEP_LIMIT_RESOLUTION: limit.resolution,
            variables.STEP_LIMIT_CLEAR_TO: limit.clear_to,
        }


def _quadratic_limit(slope: float, curvature: float, etas: Floats, slopes: Floats) -> float:
    """Where a quadratic loss is back: −2𝓛'/𝓛'' by a difference of slopes, which sees kinks, or the curvature."""
    row = min(int(np.searchsorted(etas, _NEAR)), len(etas) - 1)
    measured = (float(slopes[row]) - slope) / float(etas[row]) if len(slopes) else math.nan
    used = measured if measured > 0 else curvature
    return 2 * -slope / used if used > 0 else _GUESS

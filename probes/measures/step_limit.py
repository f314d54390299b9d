"""The measured step limit: the smallest η > 0 at which the loss is back at its starting value."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import brentq

from probes.measures.measure import Floats, Found, Frozen, Measure
from probes.measures.settings import SliceSettings
from trust import measurements as variables

__all__ = ["MeasuredStepLimit", "StepLimit", "find_step_limit"]


_LEAST = 1e-6
"""A smaller q(η) is rounding."""
_FARTHEST = 4.0
"""How many times as far the search looks at once where the loss has not returned yet."""
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
    """

    measured: float
    searched_to: float
    evaluations: int


@dataclass
class _Search:
    """Loss differences, each η evaluated once."""

    loss: Callable[[float], float]
    start: float
    slope: float
    known: dict[float, float] = field(default_factory=dict)
    evaluations: int = 0

    def rise(self, eta: float) -> float:
        """𝓛(η) − 𝓛(0); a loss that overflowed counts as an infinite rise."""
        if eta not in self.known:
            self.evaluations += 1
            self.known[eta] = self.loss(eta) - self.start
        value = self.known[eta]
        return math.inf if math.isnan(value) else value

    def height(self, eta: float) -> float:
        """Log q(η), in bounds that keep interpolation useful; its sign is that of the rise."""
        quotient = 1 + self.rise(eta) / (eta * -self.slope)
        return math.log(min(max(quotient, _LEAST), 1e300))


def find_step_limit(
    loss: Callable[[float], float],
    *,
    start: float,
    slope: float,
    guess: float,
    known: dict[float, float] | None = None,
    largest: float = 8.0,
    tolerance: float = 9.5e-3,
) -> StepLimit:
    """Find the smallest root η > 0 of 𝓛(η) − 𝓛(0), bracketed by known losses and refined by Brent's method.

    The root is sought in log η, for the logarithm of q(η) = (𝓛(η) − 𝓛(0) − η 𝓛'(0)) / (−η 𝓛'(0)), which is 1 at
    the limit. Of a quadratic loss, and of any power of η above the tangent, it is a straight line.

    Args:
        loss: full-batch loss as a function of η.
        start: 𝓛(0).
        slope: 𝓛'(0) along the slice; where it is not negative there is no descent and the limit is 0.
        guess: where to look first when nothing is known, for instance the slice-curvature limit.
        known: losses already measured on a grid; the first of them at or above ``start`` ends the bracket.
        largest: give up beyond this η.
        tolerance: relative accuracy of the limit.
    """
    search = _Search(
        loss, start, slope, {eta: value - start for eta, value in (known or {}).items() if eta > 0}
    )
    grid_end = max(search.known, default=0.0)
    if not (math.isfinite(start) and math.isfinite(slope)):
        return StepLimit(math.nan, grid_end, 0)
    if slope >= 0:
        return StepLimit(0.0, grid_end, 0)
    low, high = _bracket(search, guess, largest)
    searched_to = max(search.known, default=0.0)
    if high is None:
        return StepLimit(math.nan, searched_to, search.evaluations)
    if low is None:
        return StepLimit(0.0, searched_to, search.evaluations)
    # Halve the bracket in log η while its upper end is so high that interpolation would be blind.
    while math.log(high / low) > 2 * tolerance and search.height(high) > _BLIND:
        middle = math.sqrt(low * high)
        if search.rise(middle) < 0:
            low = middle
        else:
            high = middle
    if math.log(high / low) <= 2 * tolerance:
        return StepLimit(math.sqrt(low * high), searched_to, search.evaluations)
    search.known[math.exp(math.log(low))] = search.rise(low)
    search.known[math.exp(math.log(high))] = search.rise(high)
    ends = {math.log(low), math.log(high)}

    def height(log_eta: float) -> float:
        ends.add(log_eta)
        return search.height(math.exp(log_eta))

    # Brent's method ends with a bracket narrower than xtol; what lies in its middle part is near both ends.
    root = brentq(height, math.log(low), math.log(high), xtol=2 * tolerance, rtol=1e-12)
    last = max(end for end in ends if height(end) < 0)
    first = min(end for end in ends if height(end) >= 0)
    if first - last <= 2 * tolerance:  # or the root itself was met
        root = last + (first - last) * height(last) / (height(last) - height(first))
        root = min(max(root, first - tolerance), last + tolerance)
    return StepLimit(math.exp(root), searched_to, search.evaluations)


def _bracket(search: _Search, guess: float, largest: float) -> tuple[float | None, float | None]:
    """The last η known to descend below the first known to have risen.

    Returns:
        (low, high); high is None where the loss never returned, low is None where no descent can be seen.
    """
    if not search.known:
        search.rise(min(max(guess, 1e-6), largest) if math.isfinite(guess) else largest)
    risen = [eta for eta in sorted(search.known) if search.rise(eta) >= 0]
    if not risen:
        before = max(search.known)
        eta = min(max(guess, 2 * before), largest) if math.isfinite(guess) else 2 * before
        while search.rise(eta) < 0:
            if eta >= largest:
                return eta, None
            before, eta = eta, min(_beyond(search, before, eta), largest)
        risen = [eta]
    high = risen[0]
    below = [eta for eta in search.known if eta < high]
    low = max(below, default=high / 4)
    while search.rise(low) >= 0:
        high, low = low, low / 4
        if low < 1e-12:
            return None, high
    return low, high


def _beyond(search: _Search, before: float, eta: float) -> float:
    """A little beyond where the line through the last two heights is 0: at least a tenth farther."""
    rise = search.height(eta) - search.height(before)
    if not rise > 0:
        return _FARTHEST * eta
    steps = -search.height(eta) / rise
    farther: float = (eta / before) ** min(steps, 100.0) * 1.02
    return eta * min(max(farther, 1.1), _FARTHEST)


class MeasuredStepLimit(Measure):
    """The step limit on a line, by root finding from what the grid and the curvature tell."""

    name = "step-limit"
    finds = (
        variables.STEP_LIMIT,
        variables.STEP_LIMIT_SEARCHED_TO,
        variables.STEP_LIMIT_EVALUATIONS,
    )
    uses = (variables.LOSS, variables.SLOPE, variables.CURVATURE)

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
        known = zip(etas[1:].tolist(), losses[1:].tolist(), strict=True) if len(losses) else ()
        limit = frozen.evaluator.share.led(
            lambda loss: find_step_limit(
                loss, start=frozen.base.loss, slope=frozen.slope, guess=guess, known=dict(known)
            ),
            frozen.path.loss,
        )
        return {
            variables.STEP_LIMIT: limit.measured,
            variables.STEP_LIMIT_SEARCHED_TO: limit.searched_to,
            variables.STEP_LIMIT_EVALUATIONS: float(limit.evaluations),
        }


def _quadratic_limit(slope: float, curvature: float, etas: Floats, slopes: Floats) -> float:
    """Where a quadratic loss is back: −2𝓛'/𝓛'' by a difference of slopes, which sees kinks, or the curvature."""
    row = min(int(np.searchsorted(etas, _NEAR)), len(etas) - 1)
    measured = (float(slopes[row]) - slope) / float(etas[row]) if len(slopes) else math.nan
    used = measured if measured > 0 else curvature
    return 2 * -slope / used if used > 0 else _GUESS

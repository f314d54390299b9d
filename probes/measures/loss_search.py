"""A search along a line for where the loss is back at its start: what is known of it, and where to look next."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from trust.hermite import return_margin, slope_through

__all__ = ["Look", "LossSearch"]

_LEAP = 4.0
"""No two neighbouring η below the limit are left further apart than this factor, but for where the tangent holds."""
_TANGENT = 0.1
"""Up to this share of the tangent's descent, and of its slope, a loss and a slope are still the tangent's."""
_ABOVE = 100.0
"""How many times the tangent's descent a loss may be above its start to tell of the slope at a lower η."""
_LEAST = 1e-6
"""A smaller q(η) is rounding."""


@dataclass(frozen=True)
class Look:
    """An η at which the loss was measured, and the slope 𝓛'(η) where it is not NaN."""

    eta: float
    loss: float
    slope: float = math.nan


@dataclass
class LossSearch:
    """Loss differences 𝓛(η) − 𝓛(0), each η evaluated once.

    Attributes:
        loss: the loss as a function of η.
        start: 𝓛(0).
        slope: 𝓛'(0), negative.
        known: the differences by their η > 0.
        slopes: 𝓛'(η) at those η at which it was measured.
        evaluations: how many losses the search itself evaluated.
    """

    loss: Callable[[float], float]
    start: float
    slope: float
    known: dict[float, float] = field(default_factory=dict)
    slopes: dict[float, float] = field(default_factory=dict)
    evaluations: int = 0

    def rise(self, eta: float) -> float:
        """𝓛(η) − 𝓛(0); a loss that overflowed counts as an infinite rise."""
        if eta not in self.known:
            self.evaluations += 1
            self.known[eta] = self.loss(eta) - self.start
        value = self.known[eta]
        return math.inf if math.isnan(value) else value

    def height(self, eta: float) -> float:
        """Log q(η), in bounds that keep interpolation useful; its sign is that of the rise.

        q(η) = (𝓛(η) − 𝓛(0) − η 𝓛'(0)) / (−η 𝓛'(0)) is 1 at the limit. Of a quadratic loss, and of any power of η
        above the tangent, log q is a straight line in log η.
        """
        quotient = 1 + self.rise(eta) / (eta * -self.slope)
        return math.log(min(max(quotient, _LEAST), 1e300))

    def line(self, before: float, after: float) -> float:
        """Where the line through two heights is 0; infinite where it does not rise."""
        low, high = self.height(before), self.height(after)
        if not high > low:
            return math.inf
        return after * math.exp(min(-high / (high - low) * math.log(after / before), 300.0))

    def risen(self) -> float | None:
        """The smallest known η at which the loss is back."""
        return min((eta for eta in self.known if self.rise(eta) >= 0), default=None)

    def fallen(self) -> float | None:
        """The largest known η below all at which the loss is back."""
        high = self.risen()
        return max((eta for eta in self.known if high is None or eta < high), default=None)

    def resolution(self) -> float:
        """The largest factor between neighbouring known η that are below the limit; 1 where there is but one."""
        etas = self._below()[1:]
        return max((after / before for before, after in pairwise(etas)), default=1.0)

    def possible(self, *, narrowest: float) -> float | None:
        """Where between neighbours below the limit a return is most possible; None where it is nowhere.

        Args:
            narrowest: neighbours whose ratio is no larger are not looked between.
        """
        found = [
            (margin, eta)
            for margin, eta in (self._margin(*pair) for pair in self._gaps(narrowest))
            if margin <= 1
        ]
        return min(found)[1] if found else None

    def clear_to(self, *, narrowest: float) -> float:
        """Up to which known η no return is thought possible; infinite: anywhere below the limit."""
        doubtful = [pair[0] for pair in self._gaps(narrowest) if self._margin(*pair)[0] <= 1]
        return min(doubtful, default=math.inf)

    def leap(self) -> float | None:
        """The last of the fewest η that leave neighbours near enough, where some are too far apart."""
        etas = self._below()[1:]
        wide = [pair for pair in pairwise(etas) if pair[1] > _LEAP * pair[0] and not self._straight(pair[1])]
        if not wide:
            return None
        before, after = wide[-1]
        parts = math.ceil(math.log(after / before, _LEAP))
        return after * math.exp(math.log(before / after) / parts)

    def _straight(self, eta: float) -> bool:
        """Whether loss and measured slope at an η are those of the tangent at 0."""
        turned = abs(self.slopes.get(eta, math.inf) - self.slope)
        bent = abs(self.rise(eta) - eta * self.slope)
        return turned <= _TANGENT * -self.slope and bent <= _TANGENT * eta * -self.slope

    def _telling(self, eta: float) -> bool:
        """Whether the loss at an η is not so far above its start that it tells nothing of a neighbour's slope."""
        return self.rise(eta) <= _ABOVE * eta * -self.slope

    def _below(self) -> list[float]:
        """0 and the known η at which the loss has not been back yet, and that at which it is exactly back."""
        high = self.risen()
        exact = [high] if high is not None and self.rise(high) == 0 else []
        return [0.0, *sorted(eta for eta in self.known if high is None or eta < high), *exact]

    def _gaps(self, narrowest: float) -> list[tuple[float, float]]:
        return [pair for pair in pairwise(self._below()) if pair[1] > narrowest * pair[0]]

    def _margin(self, before: float, after: float) -> tuple[float, float]:
        """How far the loss is from a return between two neighbours, and the η at which it is nearest."""
        margin, place = return_margin(
            width=after - before,
            before=self.rise(before) if before > 0 else 0.0,
            slope_before=self._slope_at(before),
            after=self.rise(after),
            slope_after=self._slope_at(after),
        )
        # not so near to either that nothing new would be seen
        return margin, before + (after - before) * min(max(place, 0.1), 0.9)

    def _slope_at(self, eta: float) -> float:
        """The slope as measured, else by the polynomial through what is known there and at both neighbours."""
        if eta == 0:
            return self.slope
        if eta in self.slopes:
            return self.slopes[eta]
        etas = sorted(self.known)
        place = etas.index(eta)
        around: list[tuple[float, float, float | None]] = [(0.0, 0.0, self.slope)] if place == 0 else []
        near = [
            other for other in etas[max(place - 1, 0) : place + 2] if other == eta or self._telling(other)
        ]
        around += [(other, self.rise(other), self.slopes.get(other)) for other in near]
        return slope_through(around, eta)

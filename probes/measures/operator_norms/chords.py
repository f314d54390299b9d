"""A convex function of η that is costly to compute: at a few η, and between them by the chords, which lie above it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

__all__ = ["Chords"]

_UNIT = 2.0**-53


class Chords:
    """An upper bound on a convex, positive f(η) from its bounds at some knots.

    Attributes:
        etas: the knots, increasing.
    """

    def __init__(self, above: float, below: float) -> None:
        """Start with what is known of f(0).

        Args:
            above: an upper bound on it.
            below: a lower one.
        """
        self.etas = [0.0]
        self._above, self._below = [above], [below]

    def refine(
        self, etas: Sequence[float], found: Callable[[float], tuple[float, float]], gap: float
    ) -> None:
        """Take knots until, at all η, chords are at most ``gap``, relatively, above what f is at least.

        Args:
            etas: increasing, none below 0; the last becomes a knot.
            found: computes bounds on f(η), from above and from below.
            gap: how far a chord may lie above f.
        """
        rest = [eta for eta in etas if eta > 0]
        if rest:
            self._take(rest[-1], found)
        while loose := [eta for eta in rest if eta not in self.etas and not self._tight(eta, gap)]:
            place = self._place(loose[0])
            between = [eta for eta in rest if self.etas[place - 1] < eta < self.etas[place]]
            self._take(between[len(between) // 2], found)

    def above(self, eta: float) -> float:
        """An upper bound on f(η), for η up to the last knot."""
        place = self._place(eta)
        if self.etas[place] == eta:
            return self._above[place]
        return self._line(place - 1, place, eta, self._above, self._above) * (1 + 8 * _UNIT)

    def _take(self, eta: float, found: Callable[[float], tuple[float, float]]) -> None:
        place = self._place(eta)
        above, below = found(eta)
        self.etas.insert(place, eta)
        self._above.insert(place, above)
        self._below.insert(place, below)

    def _place(self, eta: float) -> int:
        """Of the first knot that is not below η."""
        return bisect_left(self.etas, eta)

    def _tight(self, eta: float, gap: float) -> bool:
        """A convex function lies above the lines through two knots, beyond them."""
        place, below = self._place(eta), 0.0
        if place + 1 < len(self.etas):
            below = max(below, self._line(place, place + 1, eta, self._below, self._above))
        if place >= 2:
            below = max(below, self._line(place - 1, place - 2, eta, self._below, self._above))
        return self.above(eta) <= (1 + gap) * below

    def _line(self, near: int, far: int, eta: float, nears: list[float], fars: list[float]) -> float:
        """At η, of the line through two knots."""
        share = (eta - self.etas[near]) / (self.etas[far] - self.etas[near])
        return nears[near] + (fars[far] - nears[near]) * share

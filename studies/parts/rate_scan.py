"""What one optimiser reaches on one task at several rates."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from studies.frame import Interval

__all__ = ["RateScan"]


@dataclass(frozen=True)
class RateScan:
    """Scores at several rates, smaller the better and infinite where training diverged.

    Attributes:
        rates: tried (n,).
        scores: of each, by seeds (n, seeds).
    """

    rates: np.ndarray
    scores: np.ndarray

    @property
    def middle(self) -> np.ndarray:
        """Medians over seeds; a training that diverged is the worst of them."""
        found: np.ndarray = np.median(self.scores, axis=1)
        return found

    @property
    def best(self) -> int:
        """The place of the best rate."""
        return int(np.argmin(self.middle))

    @property
    def shares(self) -> list[Interval]:
        """The best median over the score at each rate."""
        best = self.middle[self.best]
        if not math.isfinite(best):
            return [Interval(0.0, 0.0, 0.0)] * len(self.rates)
        ends = ([row.max(), np.median(row), row.min()] for row in self.scores)
        return [Interval(*(float(best / one) if one else 1.0 for one in each)) for each in ends]

    @property
    def best_rates(self) -> Interval:
        """The best rate, and the least and largest of the seeds'."""
        each = self.rates[np.argmin(self.scores, axis=0)]
        best = float(self.rates[self.best])
        return Interval(min(best, float(each.min())), best, max(best, float(each.max())))

    def place(self, rate: float) -> int:
        """Where a rate is."""
        return int(np.argmin(np.abs(self.rates - rate)))

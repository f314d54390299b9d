"""The spot check: a few examples' gradients at a few η once more in float64, for the noise floor is that of η = 0.

What rounding does to a gradient at η = 0 is a change of 1e-6 of it, say. But the direction is made of that
gradient, and where the breakdown is large, so is what becomes of such a change of direction. So the float64 side of
the check goes along a direction of its own: with d̂ and d̂' the directions against the few examples' gradients in
either precision, it goes along d + d̂' − d.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from probes.evaluation.reductions import compare
from probes.measures.breakdown import ratio
from probes.measures.measure import Floats, Found, Frozen, Measure, Point
from probes.measures.noise_floor import in_parts, two_precisions
from probes.measures.settings import SliceSettings
from trust import measurements as variables

__all__ = ["SpotCheck", "checked_rows", "spot_check_examples"]

_MOST, _LEAST, _SHARE = 200, 50, 10
_SMALLEST_SIZE = 1e-300


def spot_check_examples(count: int) -> int:
    """How many of ``count`` examples are checked: a tenth, but 50 to 200, where there are so many."""
    return min(count, max(_LEAST, min(_MOST, count // _SHARE)))


def checked_rows(etas: Floats) -> list[int]:
    """The rows of a grid that are checked: the last, and those at a half and three quarters of its rows."""
    last = len(etas) - 1
    return sorted({max(1, last * quarters // 4) for quarters in (2, 3, 4)})


class SpotCheck(Measure):
    """Compares gradients at up to three η with float64 ones (in float64 with those of another order of summation)."""

    name = "spot-check"
    finds = (variables.GRADIENT_CHANGE_ERROR,)

    def __init__(self, frozen: Frozen) -> None:
        """Evaluate the few examples at the frozen weights, in both precisions."""
        super().__init__(frozen)
        self.rows = checked_rows(frozen.etas)
        self.columns = {name: k for k, name in enumerate(frozen.names)}
        self.error = frozen.table(len(frozen.names))
        self.names = [name for name in frozen.measured if name not in frozen.still]
        count = spot_check_examples(len(frozen.evaluator))
        self.working, self.reference = two_precisions(frozen.evaluator, count, together=frozen.mixed)
        self.sizes: dict[str, float] = {}
        self.turns: dict[str, Tensor] = {}
        turning = [] if frozen.settings.direction != "gradient" else [*(frozen.direction or ())]
        wanted = list(dict.fromkeys([*self.names, *(name for name in turning if name not in frozen.still)]))
        for part in in_parts(frozen.evaluator, wanted):
            single = self.working.evaluate(self.working.frozen, wanted=part).gradients
            exact = self.reference.evaluate(self.reference.frozen, wanted=part).gradients
            for name in part:  # and let go of both before there are more
                first, second = single.pop(name), exact.pop(name)
                self.sizes[name] = float(torch.linalg.vector_norm(second))
                if name in turning:
                    self.turns[name] = _turn(first, second, frozen.weight_norms[name])
        self.reference.frozen = {}  # a copy of the weights that is not needed any more

    @classmethod
    def by_default(cls, settings: SliceSettings) -> bool:
        """Unless ``--no-spot-check``."""
        return settings.spot_check

    def record(self, point: Point) -> None:
        """Compare at one η, if it is among those that are checked."""
        if point.row not in self.rows:
            return
        beside = {
            name: _beside(moved, self.turns.get(name), point.eta) for name, moved in point.moved.items()
        }
        for part in in_parts(self.frozen.evaluator, self.names):
            single = self.working.evaluate(point.moved, wanted=part).gradients
            exact = self.reference.evaluate(beside, wanted=part).gradients
            for name in part:
                difference = float(compare(exact.pop(name), single.pop(name)).difference)
                self.error[point.row, self.columns[name]] = ratio(difference, self.sizes[name])

    def tables(self) -> list[Floats]:
        """The one."""
        return [self.error]

    def found(self, others: Found) -> Found:
        """What was compared; NaN where something overflowed."""
        return {variables.GRADIENT_CHANGE_ERROR: np.where(np.isfinite(self.error), self.error, np.nan)}


def _turn(single: Tensor, exact: Tensor, length: float) -> Tensor:
    """d̂' − d̂ of one tensor, in the working precision: it is small, and its own rounding does not matter."""
    sizes = [float(torch.linalg.vector_norm(gradient, dtype=torch.float64)) for gradient in (single, exact)]
    if min(sizes) < _SMALLEST_SIZE:
        return torch.zeros((), dtype=single.dtype, device=single.device).expand(single.shape)
    return ((single.double() / sizes[0]).sub_(exact, alpha=1 / sizes[1]) * length).to(single.dtype)


def _beside(moved: Tensor, turn: Tensor | None, eta: float) -> Tensor:
    """In float64 the weight at η, along the other direction."""
    if not moved.is_floating_point():
        return moved
    exact = moved.to(torch.float64, copy=True)
    return exact if turn is None else exact.add_(turn, alpha=eta)

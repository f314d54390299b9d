"""A step limit predicted from at most two gradients and made safe by losses: what one without a slice would ask for."""

from __future__ import annotations

import math
from collections.abc import Callable

from probes.evaluation.reductions import compare
from probes.measures.loss_search import Look, LossSearch
from probes.measures.measure import Found, Frozen, Measure
from probes.measures.settings import SliceSettings
from trust import measurements as variables
from trust.descent import predicted_step_limit

__all__ = ["FIRST", "PredictedLimit", "safe_step", "second_place"]

FIRST = 1e-3
"""The η of the first gradient: below the limits seen, and far enough that the slope's change is no kink's alone."""
_FARTHEST = 100.0
"""How many times as far as the first the second gradient may be."""
_AIM = 0.97
"""At which share of a predicted limit the loss is evaluated, so that it is likely to be below its start there."""
_NEAR = 1.1
"""Within this factor of the limit that the losses point at, the prediction is good enough."""
_LOSSES = 6
"""How many losses may be spent to make it safe and near."""
_STEP = 4.0
"""How many times as far as the largest η known to descend the next may be."""
_BLIND = 12.0
"""Where log q is further from 0 (a loss far above its start, or below its tangent) it tells nothing of the limit."""
_RELIABLE = 2.0
"""How many times the limit an η may be whose loss and slope are believed to tell it."""


def second_place(first: Look, *, start: float, slope: float) -> float:
    """The η of the second gradient: what the first predicts, within what it can tell."""
    predicted = _predicted(slope, first.eta, first.loss - start, first.slope)
    if first.loss < start:
        return min(max(predicted, 1.05 * first.eta), _FARTHEST * first.eta)
    return max(predicted, first.eta / _FARTHEST) if predicted < first.eta else first.eta / 2


def safe_step(
    loss: Callable[[float], float], looks: list[Look], *, start: float, slope: float
) -> tuple[float, int]:
    """The largest η found to descend before the first found not to, near the limit that the losses point at.

    Every η that is returned was evaluated, or is 0: its loss is below 𝓛(0), and so is that at every smaller η that
    was evaluated, or that the cubics between them suspect (:meth:`LossSearch.possible`) while losses may be spent.

    Args:
        loss: full-batch loss as a function of η.
        looks: where loss and slope are known.
        start: 𝓛(0).
        slope: 𝓛'(0), negative.

    Returns:
        That η, and how many losses were evaluated.
    """
    search = LossSearch(
        loss,
        start,
        slope,
        {look.eta: look.loss - start for look in looks},
        {look.eta: look.slope for look in looks if math.isfinite(look.slope)},
    )
    while search.evaluations < _LOSSES and (eta := _next(search)) is not None:
        search.rise(eta)
    return search.fallen() or 0.0, search.evaluations


def _next(search: LossSearch) -> float | None:
    """Where to evaluate the loss next; None where what is known is near enough to the limit."""
    low, high = search.fallen(), search.risen()
    if low is None:
        assert high is not None, "an η that has not risen has fallen"
        return min(_AIM * _predicted_at(search, high), high / 2)
    place = search.possible(narrowest=_NEAR)
    if place is not None:
        return place
    root = _root(search, low, high)
    if root <= _NEAR * low or (high is not None and high <= _NEAR * low):
        return None
    # into the open, and not so near to what is known that nothing new would be seen
    most = _STEP * low if high is None else low * (high / low) ** 0.95
    least = 1.02 * low if high is None else low * (high / low) ** 0.05
    return min(max(_AIM * root, least), most)


def _root(search: LossSearch, low: float, high: float | None) -> float:
    """The limit that the loss and slope at the nearest η point at, else the losses at the two nearest."""
    if high is not None and max(low, high / _RELIABLE) < (root := _predicted_at(search, high)) < high:
        return root
    if low < (root := _predicted_at(search, low)) < (math.inf if high is None else high):
        return root
    if high is None:
        before = max((eta for eta in search.known if eta < low), default=None)
        return math.inf if before is None else search.line(before, low)
    blind = search.height(high) > _BLIND or search.height(low) < -_BLIND
    return math.sqrt(low * high) if blind else search.line(low, high)


def _predicted_at(search: LossSearch, eta: float) -> float:
    if eta not in search.slopes:
        return math.inf
    return _predicted(search.slope, eta, search.rise(eta), search.slopes[eta])


def _predicted(slope: float, eta: float, rise: float, slope_there: float) -> float:
    """As :func:`trust.descent.predicted_step_limit`; infinite where something is not a number."""
    if math.isnan(rise) or math.isnan(slope_there):
        return math.inf
    return float(predicted_step_limit(slope=slope, eta=eta, rise=rise, slope_there=slope_there))


class PredictedLimit(Measure):
    """The predicted step limit: it reads nothing that the grid measured, so that it costs what it would without one."""

    name = "predicted-limit"
    finds = (variables.PREDICTED_LIMIT, variables.PREDICTED_LIMIT_GRADIENTS, variables.PREDICTED_LIMIT_LOSSES)

    @classmethod
    def by_default(cls, settings: SliceSettings) -> bool:
        """Unless ``--no-limit``."""
        return settings.limit

    @classmethod
    def fits(cls, frozen: Frozen) -> bool:
        """On a line: where every η has a perturbation of its own there is no limit."""
        return frozen.direction is not None

    def found(self, others: Found) -> Found:
        """Take two gradients, and the losses that make it safe."""
        start, slope, share = self.frozen.base.loss, self.frozen.slope, self.frozen.evaluator.share
        limit, looks, losses = math.nan, [], 0
        if math.isfinite(start) and math.isfinite(slope):
            limit = 0.0
        if slope < 0 and limit == 0:
            looks = [self.look(FIRST)]
            looks.append(self.look(share.same(second_place(looks[0], start=start, slope=slope))))
            limit, losses = share.led(
                lambda loss: safe_step(loss, looks, start=start, slope=slope), self._loss
            )
        return {
            variables.PREDICTED_LIMIT: limit,
            variables.PREDICTED_LIMIT_GRADIENTS: float(len(looks)),
            variables.PREDICTED_LIMIT_LOSSES: float(losses),
        }

    def _loss(self, eta: float) -> float:
        look = Look(eta, self.frozen.path.loss(eta))
        self.frozen.looks.append(look)
        return look.loss

    def look(self, eta: float) -> Look:
        """Loss and slope Σ⟨g_l(η), d_l⟩ at an η, on all processes together."""
        direction = self.frozen.direction
        assert direction is not None, "it fits lines only"
        found = self.frozen.path.evaluate(eta, wanted=list(direction))
        slope = sum(
            part.factor * float(compare(found.gradients[name], part.base()).product)
            for name, part in direction.parts.items()
        )
        look = Look(eta, found.loss, slope)
        self.frozen.looks.append(look)
        return look

"""Losses along a line in closed form, with their slopes, and the predicted limit of them."""

from __future__ import annotations

from collections.abc import Callable

from probes.measures.loss_search import Look
from probes.measures.predicted_limit import FIRST, safe_step, second_place

Curve = Callable[[float], tuple[float, float]]
"""η to loss and slope."""


def predict(curve: Curve) -> tuple[float, list[float]]:
    """The prediction, and at which η anything was evaluated, as the measure does it."""
    asked: list[float] = []

    def look(eta: float) -> Look:
        asked.append(eta)
        return Look(eta, *curve(eta))

    def loss(eta: float) -> float:
        asked.append(eta)
        return curve(eta)[0]

    start, slope = curve(0.0)
    first = look(FIRST)
    looks = [first, look(second_place(first, start=start, slope=slope))]
    found, losses = safe_step(loss, looks, start=start, slope=slope)
    assert losses == len(asked) - 2 <= 6
    assert len(set(asked)) == len(asked)
    # safe by evaluation: what is returned was evaluated, and nothing evaluated up to it had risen
    assert found in (*asked, 0.0)
    assert all(curve(eta)[0] < start for eta in asked if eta <= found)
    return found, asked


def power(exponent: float, limit: float, dip: float = 0.0) -> Curve:
    """A descent that grows steeper by ``dip`` at first, and a wall: back at its start at the limit."""

    def curve(eta: float) -> tuple[float, float]:
        u = eta / limit
        loss = 1 - eta * (1 + dip * u - (1 + dip) * u**exponent)
        return loss, -1 - 2 * dip * u + (1 + dip) * (exponent + 1) * u**exponent

    return curve

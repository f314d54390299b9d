"""What the ladder was given, caught on its way."""

from __future__ import annotations

import pytest

from probes.measures.bound_ingredients import BoundIngredients
from probes.measures.measure import Point
from tests.support.reference import Tensors


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> list[Tensors]:
    """The perturbed tensors of every η, as the ladder was given them."""
    seen: list[Tensors] = []

    record = BoundIngredients.record

    def spy(self: BoundIngredients, point: Point) -> None:
        seen.append({name: tensor.double().numpy().copy() for name, tensor in point.moved.items()})
        record(self, point)

    monkeypatch.setattr(BoundIngredients, "record", spy)
    return seen

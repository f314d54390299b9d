"""How many η at once: what the clock says, and that nothing is done at once that gives other numbers or fails."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from probes.data.losses import LOSSES, ModelLoss
from probes.evaluation import at_once
from probes.evaluation.at_once import fastest_count
from probes.evaluation.evaluator import Evaluator
from probes.evaluation.perturbed_weights import PerturbedWeights
from tests.support.reference import make, make_data
from tests.support.traces import picture


def evaluator(network: nn.Module | None = None, loss: Any = LOSSES["cross-entropy"]) -> Evaluator:
    x, y = make_data()
    return Evaluator((network or make()).eval(), x, y, loss, chunk=len(x))


class Clock:
    """One evaluation alone takes a second (of 4 examples ``few``), and several at once so many each."""

    def __init__(self, patch: pytest.MonkeyPatch, each: float, few: float = 1.0) -> None:
        self.now = 0.0
        alone, together = PerturbedWeights.evaluate, PerturbedWeights.evaluate_together

        def one(line: PerturbedWeights, eta: float, **options: Any) -> Any:
            self.now += few if len(line.evaluator) == 4 else 1.0
            return alone(line, eta, **options)

        def many(line: PerturbedWeights, etas: Any, **options: Any) -> Any:
            self.now += each * len(etas)
            return together(line, etas, **options)

        patch.setattr(PerturbedWeights, "evaluate", one)
        patch.setattr(PerturbedWeights, "evaluate_together", many)
        patch.setattr(at_once, "time", SimpleNamespace(process_time=lambda: self.now))


@pytest.mark.parametrize(("each", "count"), [(0.5, 32), (0.89, 32), (0.97, 1), (2.0, 1)])
def test_the_clock_decides_once_for_a_network(
    monkeypatch: pytest.MonkeyPatch, each: float, count: int
) -> None:
    clock, found = Clock(monkeypatch, each), evaluator()
    before = picture(found.network)
    assert fastest_count(found) == count
    assert picture(found.network) == before
    spent = clock.now
    assert spent > 0
    assert fastest_count(evaluator(found.network)) == count
    assert clock.now == spent
    fastest_count(evaluator(make(seed=5)))
    assert clock.now > spent


def test_where_examples_take_the_time_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    for few, count in ((0.09, 1), (0.11, 32)):
        with monkeypatch.context() as patch:
            Clock(patch, 0.1, few)
            assert fastest_count(evaluator(make())) == count


def test_memory_bounds_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hidden layer of 10,000 units keeps 40 kB an example and more, and has 90,000 parameters."""
    Clock(monkeypatch, 0.1)

    def wide() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 10_000), nn.Tanh(), nn.Linear(10_000, 3))

    parameters, kept = 4 * 4 * 100_003, 37 * 4 * 10_000
    count = fastest_count(evaluator(wide()))
    assert (64 << 20) // (parameters + 3 * kept) <= count <= (64 << 20) // (parameters + kept)
    monkeypatch.setattr(at_once, "_MOST_BYTES", 3 * (parameters + kept))
    assert fastest_count(evaluator(wide())) == 1


class Branching(nn.Module):
    """What it computes depends on its numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layer(x)
        return found if float(found.detach().sum()) > 0 else 2 * found


class Otherwise(nn.Module):
    """It is another function of a stack."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layer(x)
        return 1.001 * found if torch._C._functorch.is_batchedtensor(self.layer.weight) else found


@pytest.mark.parametrize("kind", [Branching, Otherwise])
def test_what_fails_or_differs_is_not_done_at_once(
    monkeypatch: pytest.MonkeyPatch, kind: type[nn.Module]
) -> None:
    Clock(monkeypatch, 0.1)
    assert fastest_count(evaluator(kind())) == 1


def test_losses_that_call_the_network_are_not_evaluated_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch, 0.1)
    loss = ModelLoss(lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1]))
    assert fastest_count(evaluator(loss=loss)) == 1

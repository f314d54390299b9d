"""The loss alone is the one that an evaluation finds, by less work."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from probes.data.batch import Batch
from probes.data.losses import LOSSES, ModelLoss
from probes.evaluation.directions import Direction
from probes.evaluation.evaluator import Evaluator
from probes.evaluation.perturbed_weights import PerturbedWeights
from probes.networks.kinds import build
from probes.networks.transformer import TransformerSpec


def perceptron(**options: Any) -> Evaluator:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    return Evaluator(network, torch.randn(11, 6), torch.arange(11) % 3, LOSSES["cross-entropy"], **options)


def transformer() -> Evaluator:
    torch.manual_seed(0)
    network = build(TransformerSpec(vocabulary=7, context=5, width=8, heads=2)).eval()
    tokens = torch.randint(0, 7, (9, 6))
    return Evaluator(network, tokens[:, :5], tokens[:, 1:], LOSSES["cross-entropy"], chunk=4)


def of_the_model() -> Evaluator:
    def loss(model: nn.Module, batch: Any) -> Tensor:
        return ((model(batch[0]) - 1) ** 2).mean(1)

    torch.manual_seed(0)
    return Evaluator(nn.Linear(6, 3), torch.randn(11, 6), torch.arange(11), ModelLoss(loss), chunk=4)


@pytest.mark.parametrize("at_once", [1, 40, 1 << 17])
@pytest.mark.parametrize("make", [perceptron, lambda: perceptron(chunk=4), transformer, of_the_model])
def test_it_is_the_loss_of_an_evaluation(make: Any, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator = make()
    whole = evaluator.evaluate(evaluator.frozen, wanted=list(evaluator.frozen), samples=3).loss
    monkeypatch.setattr("probes.evaluation.evaluator._AT_ONCE", at_once)
    assert evaluator.loss(evaluator.frozen) == pytest.approx(whole, rel=1e-14)
    direction = Direction.of({name: torch.ones_like(tensor) for name, tensor in evaluator.frozen.items()})
    line = PerturbedWeights(evaluator, direction)
    assert line.loss(0.1) == pytest.approx(line.evaluate(0.1).loss, rel=1e-14)


def test_it_takes_no_graph_no_hits_and_little_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator, seen = perceptron(), []
    losses_of = evaluator.losses_of

    def watched(outputs: Tensor, batch: Batch) -> Tensor:
        assert not torch.is_grad_enabled()
        assert outputs.dtype == torch.float64
        seen.append(outputs.numel())
        return losses_of(outputs, batch)

    monkeypatch.setattr(evaluator, "losses_of", watched)
    monkeypatch.setattr("probes.evaluation.evaluator._AT_ONCE", 12)
    monkeypatch.setattr(
        "probes.evaluation.evaluator.accuracy_of", lambda *_: pytest.fail("hits are not asked for")
    )
    evaluator.loss(evaluator.frozen)
    assert seen == [12, 12, 9]

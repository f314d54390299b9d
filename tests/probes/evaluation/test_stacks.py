"""Many η at once against one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from probes.data.batch import Batch
from probes.data.batches import Batches
from probes.data.losses import LOSSES
from probes.evaluation.directions import noise_direction
from probes.evaluation.evaluator import Evaluator
from probes.evaluation.perturbed_weights import PerturbedWeights
from tests.support.reference import make

EXACT = torch.float64
ETAS = [1e-3, 0.1, 0.5, 2.0]


class Twice(nn.Module):
    """Two linear maps of the data, the first used twice, and normalised."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.first, self.beside = nn.Linear(6, 5, bias=bias), nn.Linear(6, 5, bias=bias)
        self.norm, self.last = nn.LayerNorm(5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x) + self.beside(x) * torch.tanh(self.first(x))
        return self.last(self.norm(hidden))  # type: ignore[no-any-return]


class Attending(nn.Module):
    """An example is three tokens that attend to each other."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.last = nn.MultiheadAttention(2, 1, batch_first=True), nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.view(-1, 3, 2)
        return self.last(self.attention(tokens, tokens, tokens)[0].mean(1))  # type: ignore[no-any-return]


def convolutional() -> nn.Module:
    layers = [nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 4, 2), nn.ReLU(), nn.MaxPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(8, 3))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "perceptron": make,
    "batch norm": lambda: make(norm="batch"),
    "used twice": Twice,
    "no biases": lambda: Twice(bias=False),
    "convolutional": convolutional,
    "attention": Attending,
}


def line_of(network: nn.Module, *, loss: str = "cross-entropy", moving: Any = None, **options: Any) -> Any:
    torch.manual_seed(0)
    x, y = torch.randn(23, 6, dtype=EXACT), torch.randint(0, 3, (23,))
    if loss == "mse":
        y = torch.randn(23, 3, dtype=EXACT)
    evaluator = Evaluator(network.eval(), x, y, LOSSES[loss], **{"dtype": EXACT, "chunk": 10, **options})
    names = [name for name in evaluator.frozen if moving is None or name in moving]
    return PerturbedWeights(evaluator, noise_direction(evaluator.frozen, names, seed=0))


def agree(line: PerturbedWeights, wanted: list[str], samples: int = 13) -> None:
    """Sums of a few hundred terms in another order, each exact to 2e-16."""
    moved, together = line.evaluate_together(ETAS, wanted=wanted, samples=samples)
    for place, eta in enumerate(ETAS):
        alone, one = line.evaluate(eta, wanted=wanted, samples=samples), together.one(place)
        assert one.loss == pytest.approx(alone.loss, rel=1e-12)
        assert one.accuracy == pytest.approx(alone.accuracy, rel=1e-12, nan_ok=True)
        torch.testing.assert_close(one.outputs, alone.outputs, rtol=1e-12, atol=1e-12)
        assert list(one.gradients) == wanted
        for name in wanted:
            largest = float(alone.gradients[name].abs().max())
            torch.testing.assert_close(
                one.gradients[name], alone.gradients[name], rtol=1e-12, atol=1e-12 * largest + 1e-15
            )
        for name, tensor in line.at(eta).items():
            assert torch.equal(moved[name][place], tensor)


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("loss", ["cross-entropy", "mse"])
def test_many_at_once_are_each_alone(kind: str, loss: str) -> None:
    torch.manual_seed(1)
    network = NETWORKS[kind]()
    line = line_of(network, loss=loss)
    agree(line, list(line.evaluator.frozen))
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("room", [0, 1 << 20])
@pytest.mark.parametrize("moving", [["last.weight"], ["first.weight", "beside.bias"]])
def test_what_rests_has_gradients_too(moving: list[str], room: int) -> None:
    line = line_of(Twice(), moving=moving)
    line.first.most_bytes = room
    agree(line, ["first.weight", "first.bias", "last.weight"])
    assert len(line.first.kept) == (6 if room else 0)  # of 3 chunks and two layers
    agree(line, [])


def test_outputs_of_several_widths_lie_side_by_side() -> None:
    class Elementwise(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.ones(1, dtype=EXACT))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.factor

    torch.manual_seed(0)
    pieces = [torch.randn(4, width, dtype=EXACT) for width in (2, 5, 3)]
    data = Batches([Batch(piece, torch.zeros_like(piece)) for piece in pieces])
    evaluator = Evaluator(Elementwise(), data, None, LOSSES["mse"], dtype=EXACT)
    line = PerturbedWeights(evaluator, noise_direction(evaluator.frozen, ["factor"], seed=0))
    agree(line, ["factor"], samples=10)
    assert line.evaluate_together(ETAS, wanted=[], samples=10)[1].outputs.shape == (4, 10, 5)

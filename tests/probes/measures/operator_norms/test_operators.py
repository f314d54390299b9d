"""Which operator each weight is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from probes.measures.operator_norms import Operator, find_operators, operator_norm
from tests.probes.measures.operator_norms.examples import MATRIX, batch_of, exact_norm, layer_of


class _Network(nn.Module):
    """Everything of which some weight is known or is not."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding="same"), nn.ReLU(), nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2)
        )
        self.up = nn.ConvTranspose2d(6, 2, 3, stride=2, padding=1, output_padding=1)
        self.head = nn.Linear(2 * 8 * 8, 5)
        self.tokens = nn.Linear(2, 2)
        self.recurrent = nn.LSTM(5, 5)
        self.attention = nn.MultiheadAttention(5, 1)
        self.normal = nn.LayerNorm(5)
        self.spectral = parametrizations.spectral_norm(nn.Linear(5, 5))
        self.unused = nn.Conv1d(1, 1, 3)
        self.twice = nn.Conv1d(1, 1, 3)
        self.changed = _Doubled(5, 5)
        self.tied = nn.Linear(5, 5)
        self.tied_too = nn.Linear(5, 5)
        self.tied_too.weight = self.tied.weight
        self.embedding = nn.Embedding(5, 5)
        self.unembedding = nn.Linear(5, 5)
        self.unembedding.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(self.features(x))
        y = self.head(x.flatten(1)) + self.tokens(x.flatten(2).mT).sum()
        y = self.changed(self.normal(self.recurrent(y[None])[0]))
        y = self.spectral(self.attention(y, y, y)[0])[0]
        z = self.twice(self.twice(y[:, None]))[:, 0].sum(1, keepdim=True)
        return self.unembedding(self.tied_too(self.tied(y + z)))


class _Doubled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


def test_operators_are_found() -> None:
    torch.manual_seed(0)
    network = _Network()
    network.train()
    evaluator = batch_of(network, torch.randn(3, 1, 8, 8))
    found = find_operators(evaluator, list(evaluator.frozen))
    assert set(found) == set(evaluator.frozen)
    ones = (1, 1)
    assert found["features.0.weight"] == Operator(
        "convolution", ones, ((1, 1), (1, 1)), ones, 1, "zeros", (8, 8), 64
    )
    assert found["features.2.weight"] == Operator(
        "convolution", (2, 2), ((1, 1), (1, 1)), ones, 2, "zeros", (8, 8), 16
    )
    assert found["up.weight"] == Operator(
        "transposed convolution", (2, 2), ((1, 0), (1, 0)), ones, 1, "zeros", (4, 4), 64
    )
    assert found["head.weight"] == MATRIX
    assert found["tokens.weight"] == Operator("matrix", positions=64)
    assert found["tied.weight"] == MATRIX
    assert found["attention.out_proj.weight"] == MATRIX
    known = {name for name, operator in found.items() if operator.kind != "unknown"}
    assert known == {
        "features.0.weight",
        "features.2.weight",
        "up.weight",
        "head.weight",
        "tokens.weight",
        "tied.weight",
        "attention.out_proj.weight",
    }
    tied = find_operators(evaluator, ["unembedding.weight"])  # under its other name an embedding's
    assert tied["unembedding.weight"].kind == "unknown"
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())


def test_a_sequential_network() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 6 * 6, 4))
    evaluator = batch_of(network, torch.randn(2, 1, 8, 8))
    found = find_operators(evaluator, ["0.weight", "3.weight"])
    assert [operator.kind for operator in found.values()] == ["convolution", "matrix"]
    layer = layer_of(nn.Conv2d, 1, 3, 3)
    layer.weight = nn.Parameter(evaluator.frozen["0.weight"])
    norm = operator_norm(evaluator.frozen["0.weight"], found["0.weight"])
    assert norm == pytest.approx(exact_norm(layer, (8, 8)), rel=1e-11, abs=0)

"""How often a forward pass uses each tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence

from probes import SliceSettings, measure_slice
from probes.measures.layers import find_layers
from tests.probes.networks.examples import TINY, made, toy
from trust.claims.quantities import depth, log10_trust


class Loop(nn.Module):
    """A cell that is used once a time step."""

    def __init__(self, steps: int = 8) -> None:
        super().__init__()
        self.cell, self.head, self.steps = nn.RNNCell(3, 4), nn.Linear(4, 3), steps

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(len(x), 4, dtype=x.dtype)
        for _ in range(self.steps):
            h = self.cell(x, h)
        out: Tensor = self.head(h)
        return out


class Whole(nn.Module):
    """A recurrent layer that goes through a sequence by itself."""

    def __init__(self, kind: type[nn.RNNBase], *, packed: bool = False, **options: Any) -> None:
        super().__init__()
        self.layer, self.head, self.packed = kind(3, 4, **options), nn.Linear(4, 3), packed

    def forward(self, x: Tensor) -> Tensor:
        if not self.layer.batch_first:
            x = x.transpose(0, 1)
        if self.packed:
            packed = pack_padded_sequence(x, [7] * len(x), batch_first=True)
            return self.head(self.layer(packed)[1][-1])  # type: ignore[no-any-return]
        out = self.layer(x)[0]
        return self.head(out[:, -1] if self.layer.batch_first else out[-1])  # type: ignore[no-any-return]


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.bias = nn.Embedding(5, 4), nn.Parameter(torch.zeros(5))

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(self.embedding(x).mean(1), self.embedding.weight, self.bias)


class Transposed(nn.Module):
    """A transpose that is taken once and used three times."""

    def __init__(self) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.randn(3, 3))

    def forward(self, x: Tensor) -> Tensor:
        turned = self.W.t()
        for _ in range(3):
            x = torch.tanh(x @ turned)
        return x


def twice() -> nn.Module:
    shared = nn.Linear(3, 3)
    return nn.Sequential(shared, nn.ReLU(), shared)


VECTORS, SEQUENCES = (lambda: torch.randn(6, 3)), (lambda: torch.randn(6, 7, 3))
CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor], dict[str, int]]] = {
    "a cell in a loop": (
        Loop, VECTORS, {"cell.weight_ih": 8, "cell.weight_hh": 8, "cell.bias_ih": 8, "head.weight": 1}
    ),
    "rnn": (lambda: Whole(nn.RNN, batch_first=True), SEQUENCES, {"layer.weight_hh_l0": 7, "head.weight": 1}),
    "lstm": (lambda: Whole(nn.LSTM, num_layers=2), SEQUENCES, {"layer.weight_hh_l0": 7, "layer.weight_ih_l1": 7}),
    "gru": (lambda: Whole(nn.GRU, batch_first=True), SEQUENCES, {"layer.weight_hh_l0": 7}),
    "packed": (lambda: Whole(nn.RNN, packed=True, batch_first=True), SEQUENCES, {"layer.weight_ih_l0": 7}),
    "tied": (Tied, lambda: torch.randint(0, 5, (6, 4)), {"embedding.weight": 2, "bias": 1}),
    "the same layer twice": (twice, VECTORS, {"0.weight": 2, "0.bias": 2}),
    "a transpose": (Transposed, VECTORS, {"W": 3}),
    "weight norm": (
        lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 3))),
        VECTORS,
        {"0.parametrizations.weight.original0": 1, "0.parametrizations.weight.original1": 1},
    ),
    "spectral norm": (
        lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3))),
        VECTORS,
        {"0.parametrizations.weight.original": 1},
    ),
    "attention": (lambda: Attention(), SEQUENCES, {"layer.in_proj_weight": 1, "layer.out_proj.weight": 1}),
}  # fmt: skip


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.MultiheadAttention(3, 1, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x, x, x)[0].mean(1)  # type: ignore[no-any-return]


def measured(network: nn.Module, x: Tensor, **settings: Any) -> Any:
    chosen = SliceSettings(
        etas=np.array([0.0, 0.01, 0.1]), dtype="float64", limit=False, curvature=None, **settings
    )
    y = torch.arange(len(x)) % 3
    return measure_slice(network.double(), x.double() if x.is_floating_point() else x, y, settings=chosen)


@pytest.mark.parametrize("name", CASES)
def test_uses(name: str) -> None:
    make, data, expected = CASES[name]
    found = measured(make(), data(), measure=("breakdown",), samples=0)
    uses = dict(zip(found["layer"].values.tolist(), found["uses"].values.tolist(), strict=True))
    assert {layer: uses[layer] for layer in expected} == expected
    # deep relative trust, use by use
    weights = [str(name) for name in found["layer"].values if bool(found["is_weight"].sel(layer=name))]
    assert depth(found) == sum(uses[layer] for layer in weights)
    product = 1.0
    for layer in weights:
        relative = found["relative_perturbation"].sel(layer=layer).isel(checkpoint=0, eta=2)
        for _ in range(uses[layer]):
            product *= 1 + float(relative)
    # at most 20 products in float64
    assert 10.0 ** float(log10_trust(found)[0, 2]) == pytest.approx(product - 1, rel=1e-12)


def test_networks_of_ours_use_each_weight_once_but_for_the_tied_head() -> None:
    for name in ("conv", "residual-bn"):
        found = measured(made(TINY[name]), toy(TINY[name]).x[:4], measure=("breakdown",), samples=0)
        assert (found["uses"] == 1).all()
        assert depth(found) == TINY[name].depth
    spec, data = TINY["transformer"], toy(TINY["transformer"])
    chosen = SliceSettings(etas=np.array([0.0, 0.1]), measure=("breakdown",), samples=0)
    found = measure_slice(made(spec), data.x[:4], data.y[:4], settings=chosen)
    assert found["uses"].sel(layer="characters.weight") == 2
    # beside the spec's count: queries and keys in each of two blocks, and the table of positions
    assert depth(found) == spec.depth + 2 * 2 + 1


def test_nothing_is_known_where_nothing_passes_through() -> None:
    assert {layer.uses for layer in find_layers(twice())} == {1}

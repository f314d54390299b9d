"""Networks of many kinds, with data; slices of them, and the same by a plain loop."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from probes import SliceSettings, measure_slice
from tests.support.reference import make

ETAS = np.array([0.0, 1e-3, 0.05])
TOKENS = 11


class Residual(nn.Module):
    """16 layers, whose names are not in the order of the alphabet."""

    def __init__(self) -> None:
        super().__init__()
        self.z = nn.Linear(6, 8)
        self.blocks = nn.ModuleList(nn.Linear(8, 8, bias=False) for _ in range(14))
        self.a = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.z(x)
        for block in self.blocks:
            h = h + 0.3 * torch.tanh(block(h))
        return self.a(h)


class Transformer(nn.Module):
    """Tokens, a table of positions, one encoder layer, a head."""

    def __init__(self, norm_first: bool = False, tied: bool = False) -> None:
        super().__init__()
        self.head = nn.Linear(8, TOKENS, bias=False)
        self.encoder = nn.TransformerEncoderLayer(
            8, 2, 12, dropout=0.1, batch_first=True, norm_first=norm_first
        )
        self.positions = nn.Parameter(torch.randn(4, 8) / 3)
        self.tokens = nn.Embedding(TOKENS, 8)
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.tokens(x) + self.positions)[:, -1])


class Recurrent(nn.Module):
    """Two recurrent layers and a head; time comes first inside if wanted."""

    def __init__(self, batch_first: bool = True) -> None:
        super().__init__()
        self.rnn = nn.LSTM(5, 6, num_layers=2, batch_first=batch_first)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        if self.rnn.batch_first:
            return self.head(self.rnn(x)[0][:, -1])
        return self.head(self.rnn(x.transpose(0, 1))[0])[-1]


class Attention(nn.Module):
    """Packed self-attention alone."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


def convolutions() -> nn.Module:
    network = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Tanh(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(27, 3)
    )
    with torch.no_grad():
        network[1].running_mean.uniform_(-0.5, 0.5)
        network[1].running_var.uniform_(0.5, 1.5)
        network[1].weight.uniform_(0.5, 1.5)
    return network


def parametrised(wrap: Callable[[nn.Module], nn.Module]) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(
            wrap(nn.Linear(6, 8)), nn.Tanh(), wrap(nn.Linear(8, 8)), nn.Tanh(), nn.Linear(8, 3)
        )


def numbers(*shape: int) -> Tensor:
    return torch.randn(9, *shape)


def tokens() -> Tensor:
    return torch.randint(0, TOKENS, (9, 4))


@dataclass(frozen=True)
class Case:
    """A network, its inputs, and the number of classes."""

    make: Callable[[], nn.Module]
    x: Callable[[], Tensor]
    classes: int = 3
    batchnorm: str = "running"


CASES = {
    "perceptron": Case(lambda: make((6, 8, 3), "tanh", norm="layer"), lambda: numbers(6)),
    "convolution": Case(convolutions, lambda: numbers(1, 5, 5)),
    "convolution, batch statistics": Case(convolutions, lambda: numbers(1, 5, 5), batchnorm="batch"),
    "residual": Case(Residual, lambda: numbers(6)),
    "transformer": Case(Transformer, tokens, TOKENS),
    "transformer, norm first": Case(lambda: Transformer(norm_first=True), tokens, TOKENS),
    "tied": Case(lambda: Transformer(tied=True), tokens, TOKENS),
    "recurrent": Case(Recurrent, lambda: numbers(4, 5)),
    "recurrent, time first": Case(lambda: Recurrent(batch_first=False), lambda: numbers(4, 5)),
    "attention": Case(Attention, lambda: numbers(4, 8)),
    "weight norm": Case(lambda: parametrised(parametrizations.weight_norm), lambda: numbers(6)),
    "spectral norm": Case(lambda: parametrised(parametrizations.spectral_norm), lambda: numbers(6)),
    "orthogonal": Case(lambda: parametrised(parametrizations.orthogonal), lambda: numbers(6)),
    "weight norm by hooks": Case(lambda: parametrised(nn.utils.weight_norm), lambda: numbers(6)),
    "spectral norm by hooks": Case(lambda: parametrised(nn.utils.spectral_norm), lambda: numbers(6)),
}
JUDGED = {"tied", "convolution, batch statistics"}
"""Analysing every case would take longer than measuring them; these lack most."""


def prepared(case: Case) -> tuple[nn.Module, Tensor, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network, x = case.make().double(), case.x()
        with torch.no_grad():
            for parameter in network.parameters():  # biases that start at zero would not move
                if parameter.ndim == 1:
                    parameter.add_(0.1 * torch.randn_like(parameter))
        y = torch.randint(0, case.classes, (len(x),))
    return network.train(), x.double() if x.is_floating_point() else x, y


def measured(network: nn.Module, x: Tensor, y: Tensor, **settings: Any) -> xr.Dataset:
    settings = {"etas": ETAS, "dtype": "float64", "limit": False, **settings}
    return measure_slice(network, x, y, settings=SliceSettings(**settings)).isel(checkpoint=0)


def attributes(network: nn.Module) -> list[Any]:
    """Tensors that modules hold beside their parameters and buffers."""
    values = [value for module in network.modules() for value in vars(module).values()]
    lists = [item for value in values if isinstance(value, list) for item in value]
    return [value for value in [*values, *lists] if isinstance(value, Tensor)]


def looped(
    network: nn.Module, x: Tensor, y: Tensor, *, batchnorm: str, kept: Callable[[str], bool] = lambda _: True
) -> list[tuple[float, dict[str, Tensor]]]:
    """Loss and gradients at every η: a copy, its parameters set by hand, one backward pass."""
    twin = copy.deepcopy(network).eval()
    for module in twin.modules():
        if isinstance(module, nn.BatchNorm2d) and batchnorm == "batch":
            module.train()

    def at(values: dict[str, Tensor]) -> tuple[float, dict[str, Tensor]]:
        with torch.no_grad():
            for name, parameter in twin.named_parameters():
                parameter.copy_(values[name])
        twin.zero_grad()
        loss = nn.functional.cross_entropy(twin(x), y)
        loss.backward()
        found = {name: p.grad.clone() for name, p in twin.named_parameters() if p.grad is not None}
        return loss.item(), found

    frozen = {name: parameter.detach().clone() for name, parameter in twin.named_parameters()}
    gradients = at(frozen)[1]
    results = []
    for eta in ETAS:
        moved = dict(frozen)
        for name, g in gradients.items():
            if kept(name) and g.norm() > 0:
                moved[name] = frozen[name] - eta * frozen[name].norm() * g / g.norm()
        results.append(at(moved))
    return results

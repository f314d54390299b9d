"""The bounds' ingredients of convolutions, and of layers of which nothing is known."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.probes.measures.ingredients import expect, layer, measured
from tests.support.reference import Array, Tensors


def dense(module: Any, shape: tuple[int, ...]) -> Array:
    """A layer's linear part as a matrix, column by column."""
    columns = []
    zero = torch.zeros(1, *shape, dtype=torch.float64)
    for k in range(zero.numel()):
        basis = zero.clone().view(-1)
        basis[k] = 1.0
        columns.append((module(basis.view(zero.shape)) - module(zero)).detach().flatten().numpy())
    return np.stack(columns, 1)


def convolutional(mode: Any) -> nn.Sequential:
    torch.manual_seed(3)
    first = nn.Conv2d(2, 3, 3, stride=2, padding=1, padding_mode=mode)
    return nn.Sequential(first, nn.ReLU(), nn.Flatten(), nn.Linear(27, 4)).double()


@pytest.mark.parametrize("mode", ["zeros", "replicate"])
@pytest.mark.parametrize("direction", ["gradient", "noise", "adversarial"])
def test_convolutions_are_measured_as_convolutions(mode: str, direction: str, record: list[Tensors]) -> None:
    network: Any = convolutional(mode)
    x, y = torch.randn(6, 2, 5, 5, dtype=torch.float64), torch.arange(6) % 4
    found = measured(network, x, y, direction=direction, restarts=1, ascent_steps=2)
    frozen = {name: p.detach().numpy().copy() for name, p in network.named_parameters()}
    assert list(found["operator"].values) == ["convolution", "", "matrix", ""]
    norm = np.linalg.svd(dense(network[0], (2, 5, 5)))[1][0]
    expect(layer(found, "operator_norm", "0.weight"), norm, "convolution")
    assert abs(norm - np.linalg.svd(frozen["0.weight"].reshape(3, -1))[1][0]) > 0.05 * norm
    inner = network[0](x).relu().flatten(1).detach().numpy()
    for row in range(3):
        steps = {name: record[row][name] - frozen[name] for name in frozen}
        twin = copy.deepcopy(network[0])
        with torch.no_grad():
            twin.weight.copy_(torch.from_numpy(steps["0.weight"]))
            twin.bias.zero_()
        value = layer(found, "perturbation_operator_norm", "0.weight")[row]
        expect(value, np.linalg.svd(dense(twin, (2, 5, 5)))[1][0], "perturbation")
        for e in range(5):
            response = found["perturbation_response"][row, :, e]
            expect(response.sel(layer="0.weight"), float(twin(x[e : e + 1]).detach().norm()), "0.weight")
            at_nine = np.sqrt(9) * np.linalg.norm(steps["0.bias"])  # of 3 × 3 positions
            expect(response.sel(layer="0.bias"), at_nine, "0.bias")
            expect(response.sel(layer="3.weight"), np.linalg.norm(steps["3.weight"] @ inner[e]), "3.weight")
            expect(response.sel(layer="3.bias"), np.linalg.norm(steps["3.bias"]), "3.bias")
        with torch.no_grad():
            twin.weight.copy_(torch.from_numpy(record[row]["0.weight"]))
        value = layer(found, "perturbed_operator_norm", "0.weight")[row]
        expect(value, np.linalg.svd(dense(twin, (2, 5, 5)))[1][0], "perturbed")
    assert "log10_path_difference" not in found
    assert found["log10_path_norm"].isnull().all()
    assert float(found["linearisation_error"][2, 0]) > 0


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.last = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Any:
        return self.last(self.attention(x, x, x, need_weights=False)[0].mean(1))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(4, 5, batch_first=True)
        self.last = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Any:
        return self.last(self.cell(x)[0][:, -1])


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 4)
        self.last = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Any:
        return self.last(self.table(x).mean(1))


@pytest.mark.parametrize("kind", [Attention, Recurrent])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_not_known_is_nan(kind: type[nn.Module], dtype: str) -> None:
    torch.manual_seed(0)
    network = kind()
    for parameter in network.parameters():  # attention's biases start at 0, where nothing moves them
        nn.init.uniform_(parameter, -0.5, 0.5)
    x, y = torch.randn(6, 5, 4), torch.arange(6) % 3
    found = measured(network, x, y, dtype=dtype)
    for name in map(str, found["layer"].values):
        known = name.startswith("last")
        weight = bool(found["is_weight"].sel(layer=name))
        response = found["perturbation_response"].sel(layer=name)
        assert bool(response[1:].notnull().all()) == known, name
        assert response[1:].isnull().all() or known
        if weight:
            used = (
                known or name == "attention.out_proj.weight"
            )  # its norm is known, what it is applied to is not
            for variable in ("operator_norm", "perturbed_operator_norm", "perturbation_operator_norm"):
                assert bool(found[variable].sel(layer=name).notnull().all()) == used, (variable, name)
            assert (str(found["operator"].sel(layer=name).values) == "matrix") == used
    for variable in ("output_norm", "input_response", "output_difference_l1"):
        assert found[variable].notnull().all()
    assert found["target_norm"].isnull().all()


def test_inputs_that_are_no_numbers_cannot_move() -> None:
    torch.manual_seed(0)
    x, y = torch.randint(0, 7, (6, 5)), torch.arange(6) % 3
    found = measured(Tokens(), x, y)
    for variable in ("input_norm", "input_max", "input_response"):
        assert found[variable].isnull().all()
    assert (found["output_norm"] > 0).all()
    assert found["perturbation_response"].sel(layer="last.weight").notnull().all()
    assert found["perturbation_response"].sel(layer="table.weight").isnull().all()


@pytest.mark.parametrize("mode", ["replicate", "circular"])
def test_rounding_that_padding_copies_is_not_underrated(mode: Any, record: list[Tensors]) -> None:
    """One input position that all seven outputs read: the norm is √7 |w|."""
    torch.manual_seed(0)
    first = nn.Conv1d(1, 1, 1, padding=1 if mode == "circular" else 3, padding_mode=mode)
    network = nn.Sequential(first, nn.Flatten(), nn.LazyLinear(3))
    x, y = torch.randn(6, 1, 1), torch.arange(6) % 3
    network(x)
    before = float(first.weight.detach().double())
    etas = np.array([0.0, *(np.arange(1, 30) * 1e-8)])
    found = measured(network, x, y, dtype="float32", etas=etas)
    copies = 3 if mode == "circular" else 7
    for row in range(len(etas)):
        top = copies**0.5 * abs(float(record[row]["0.weight"].item()) - before)
        value = float(found["perturbation_operator_norm"].sel(layer="0.weight")[row])
        assert value >= top * (1 - 1e-12)

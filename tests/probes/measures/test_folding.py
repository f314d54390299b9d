"""Batch norm folded into its weight, against the matrix that both together are, column by column."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from tests.probes.measures.ingredients import ETAS, layer, measured
from tests.support.reference import Tensors

F = torch.nn.functional


def with_statistics(network: nn.Module) -> nn.Module:
    """Random scales, shifts and running statistics: at their start they would fold into little."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            with torch.no_grad():
                module.weight.uniform_(-1.5, 1.5)
                module.bias.uniform_(-0.5, 0.5)
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2.0)
    return network


class Block(nn.Module):
    """h + norm(convolution(relu(h))), and a batch norm that stands alone before the relu."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.BatchNorm2d(2)
        self.convolution = nn.Conv2d(2, 2, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(2)
        self.head = nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = x + self.norm(self.convolution(torch.relu(self.before(x))))
        return self.head(h.flatten(1))  # type: ignore[no-any-return]


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], dict[str, list[str]]]] = {
    "linear": (
        lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)),
        (4,),
        {"0.weight": ["0", "1"]},
    ),
    "strided convolution": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, 3, 2, 1, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3)
        ),
        (2, 4, 4),
        {"0.weight": ["0", "1"]},
    ),
    "block": (Block, (2, 4, 4), {"before.weight": ["before"], "convolution.weight": ["convolution", "norm"]}),
}


def affine(network: nn.Module, parts: list[str], tensors: Tensors, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """The matrix and the constant of some modules one behind the other, by their effect on 0 and on unit vectors."""

    def at(x: Tensor) -> Any:
        for name in parts:
            own = {
                k.removeprefix(f"{name}."): torch.from_numpy(v)
                for k, v in tensors.items()
                if k.startswith(f"{name}.")
            }
            x = functional_call(network.get_submodule(name), own, (x,))
        return x.flatten(1).detach().numpy()

    constant = at(torch.zeros(1, *shape, dtype=torch.float64))[0]
    basis = torch.eye(int(np.prod(shape)), dtype=torch.float64).view(-1, *shape)
    return (at(basis) - constant).T, constant


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("settings", [{}, {"direction": "noise"}, {"biases": "fixed"}, {"dtype": "float32"}])
def test_stages_against_their_matrices(name: str, settings: dict[str, Any], record: list[Tensors]) -> None:
    make, shape, stages = CASES[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = with_statistics(make()).double().eval()
        x, y = torch.randn(6, *shape, dtype=torch.float64), torch.arange(6) % 3
    if settings.get("dtype") == "float32":
        network, x = network.float(), x.float()
    found = measured(network, x, y, **settings)
    network, x = network.double(), x.double()
    given: dict[str, Tensor] = {}
    hooks = [
        network.get_submodule(parts[0]).register_forward_pre_hook(
            lambda _, args, stage=stage: given.__setitem__(stage, args[0])
        )
        for stage, parts in stages.items()
    ]
    network(x)
    for hook in hooks:
        hook.remove()
    tensors = {k: v.numpy() for k, v in network.state_dict().items() if v.is_floating_point()}
    for stage, parts in stages.items():
        inside = tuple(given[stage].shape[1:])
        before = affine(network, parts, tensors, inside)
        assert layer(found, "stage_norm", stage) == pytest.approx(np.linalg.norm(before[0], 2), rel=1e-11)
        for row in range(len(ETAS)):
            after = affine(network, parts, {**tensors, **record[row]}, inside)
            change, constant = after[0] - before[0], after[1] - before[1]
            sizes = {
                "perturbed_stage_norm": np.linalg.norm(after[0], 2),
                "perturbation_stage_norm": np.linalg.norm(change, 2),
            }
            for variable, size in sizes.items():
                value = float(layer(found, variable, stage)[row])
                # the test's own differences of matrices of order 1 are good to some ε
                assert value == pytest.approx(size, rel=1e-10, abs=1e-14)
                assert value >= size - 1e-14
            for e in range(5):
                response = change @ given[stage][e].detach().numpy().ravel() + constant
                own = float(layer(found, "stage_response", stage)[row, e])
                assert own == pytest.approx(np.linalg.norm(response), rel=1e-10, abs=1e-13)
    others = [n for n in found["layer"].values if n not in stages]
    assert np.isnan(found["stage_norm"].sel(layer=others)).all()


def test_without_batch_norm_there_are_no_such_variables() -> None:
    network, x = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double(), torch.randn(6, 4)
    assert not [name for name in measured(network, x, torch.arange(6) % 3) if "stage" in str(name)]

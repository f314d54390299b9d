"""The same weights as tensors with --activation and as a module with --network: the same numbers and verdicts."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn import functional

from analysis import Status, judge
from analysis.verdicts import Verdict
from probes import SliceSettings, measure_slice
from probes.checkpoints.checkpoint import read_checkpoint
from probes.networks.frozen_network import load_network
from probes.networks.perceptron import Perceptron

WIDTHS = (5, 6, 4, 3)
ACTIVATIONS = {
    "relu": (nn.ReLU(), functional.relu),
    "leaky_relu:0.1": (nn.LeakyReLU(0.1, inplace=True), lambda z: functional.leaky_relu(z, 0.1)),
    "tanh": (nn.Tanh(), torch.tanh),
    "gelu": (nn.GELU(), functional.gelu),
}


def sequential(activation: nn.Module, *, bias: bool) -> nn.Sequential:
    parts: list[nn.Module] = []
    for fan_in, fan_out in pairwise(WIDTHS):
        parts += [nn.Linear(fan_in, fan_out, bias=bias), activation]
    return nn.Sequential(*parts[:-1])


class Functional(nn.Module):
    """The same with a forward of its own; its tensors have the names of the Sequential's."""

    def __init__(self, twin: nn.Sequential, activation: Any) -> None:
        super().__init__()
        for name, part in twin.named_children():
            if isinstance(part, nn.Linear):
                self.add_module(name, part)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        *hidden, last = self.children()
        for layer in hidden:
            x = self.activation(layer(x))
        out: Tensor = last(x)
        return out


def slice_of(found: Any) -> xr.Dataset:
    settings = SliceSettings(
        etas=np.array([0.0, 1e-3, 1e-2, 0.1]), dtype="float64", samples=4, jacobian=3, spectra="slice"
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        x, y = torch.randn(8, WIDTHS[0]), torch.arange(8) % 3
    return measure_slice(found.network, x, y, settings=settings, names=found.names)


def number(value: float) -> str:
    return f"{value:.12e}"


def told(one: Verdict) -> tuple[Any, ...]:
    return (
        *(one.claim, one.status, dict(one.premises), dict(one.worst_at), one.remark),
        *(number(one.holds_fraction), number(one.worst_log10_ratio), number(one.log10_constant)),
    )


JUDGED = {("relu", True), ("leaky_relu:0.1", False), ("tanh", False)}
"""Judging takes far longer than measuring, and is a function of what is compared in every case."""


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_tensors_and_modules_get_the_same_verdicts(name: str, bias: bool, tmp_path: Path) -> None:
    module, function = ACTIVATIONS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        network = sequential(module, bias=bias)
    torch.save(network.state_dict(), tmp_path / "net.pt")
    checkpoint = read_checkpoint(tmp_path / "net.pt")
    bare = load_network(checkpoint, activation=name)
    assert isinstance(bare.network, Perceptron)
    expected = slice_of(bare)
    makers = (
        lambda: sequential(module, bias=bias),
        lambda: Functional(sequential(module, bias=bias), function),
    )
    for make in makers:
        found = slice_of(load_network(checkpoint, network=make))
        assert set(found.variables) == set(expected.variables)
        for variable in expected.data_vars:
            # the same torch functions in the same order: the same but for how sums are vectorised
            np.testing.assert_allclose(found[variable], expected[variable], rtol=1e-12, err_msg=str(variable))
        for coordinate in ("layer", "is_weight", "uses", "activation", "rows", "columns", "operator"):
            assert (found[coordinate] == expected[coordinate]).all()
        for attribute in ("structure", "residual", "norm", "biases"):
            assert found.attrs[attribute] == expected.attrs[attribute]
    if (name, bias) not in JUDGED:
        return
    verdicts, own = judge(expected), judge(slice_of(load_network(checkpoint, network=makers[0])))
    assert [told(one) for one in own] == [told(one) for one in verdicts]
    by = {one.claim: one for one in verdicts}
    assert by["telescoped"].status is Status.HOLDS
    assert by["path-metric"].premises["plain chain"] is True
    assert by["path-metric"].premises["ReLU"] is (name == "relu")
    for claim in ("spectral-product", "theorem1-function"):
        assert by[claim].premises["no biases"] is not bias


def test_what_cannot_be_told_is_not_measured_and_says_what_to_give() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(5, 6, bias=False), nn.Linear(6, 3, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.b(functional.hardswish(self.a(x)))
            return out

    x, y = torch.randn(8, 5), torch.arange(8) % 3
    settings = SliceSettings(etas=np.array([0.0, 0.01]), dtype="float64", samples=4)
    verdicts = {one.claim: one for one in judge(measure_slice(Odd(), x, y, settings=settings))}
    for claim in ("telescoped", "spectral-product", "input-sensitivity", "path-metric"):
        one = verdicts[claim]
        assert one.status is Status.NOT_MEASURED
        assert False not in one.premises.values()
        assert "other-networks.md" in one.remark or "paths" in one.remark or "ladder" in one.remark

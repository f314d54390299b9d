"""Activations by name: torch's own, for every name that trust knows."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from probes import InputError
from probes.networks.activations import parse_activation
from tests.support.reference import make
from trust.activations import DEFAULT_PARAMETERS


def test_activations_are_those_of_torch() -> None:
    z = torch.linspace(-3, 3, 31)
    modules = {
        "identity": nn.Identity(),
        "relu": nn.ReLU(),
        "scaled_relu": lambda z: 2**0.5 * torch.relu(z),
        "leaky_relu": nn.LeakyReLU(),
        "tanh": nn.Tanh(),
        "sigmoid": nn.Sigmoid(),
        "gelu": nn.GELU(),
        "gelu_tanh": nn.GELU(approximate="tanh"),
        "silu": nn.SiLU(),
        "elu": nn.ELU(),
        "selu": nn.SELU(),
        "softplus": nn.Softplus(),
        "mish": nn.Mish(),
        "celu": nn.CELU(),
        "softsign": nn.Softsign(),
    }
    assert set(modules) == set(DEFAULT_PARAMETERS)
    for name, module in modules.items():
        assert torch.equal(make((1, 1, 1), name).activation(z), module(z)), name
    assert torch.equal(make((1, 1, 1), "leaky_relu:0.3").activation(z), nn.LeakyReLU(0.3)(z))
    assert torch.equal(make((1, 1, 1), "scaled_relu:3").activation(z), 3 * torch.relu(z))
    assert torch.equal(make((1, 1, 1), "elu:2").activation(z), nn.ELU(2.0)(z))


@pytest.mark.parametrize(
    "spec", ["wavelet", "relu:0.1", "leaky_relu:x", "leaky_relu:nan", "leaky_relu:inf", ""]
)
def test_activations_that_do_not_exist(spec: str) -> None:
    with pytest.raises(InputError, match="activation="):
        parse_activation(spec)

"""Convolutional and residual networks, once more as loops."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.probes.networks.examples import CONV, RESIDUAL, linear, made


def convolved(x: Any, layer: Any, stride: int) -> Any:
    """A 3×3 convolution with a border of zeros and the norm after it, written as loops."""
    kernel = layer.conv.weight.detach().numpy()
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    side = (x.shape[2] + 1) // stride if stride > 1 else x.shape[2]
    out = np.zeros((len(x), len(kernel), side, side))
    for i in range(side):
        for j in range(side):
            patch = padded[:, :, stride * i : stride * i + 3, stride * j : stride * j + 3]
            for channel, weights in enumerate(kernel):
                out[:, channel, i, j] = (patch * weights).sum((1, 2, 3))
    if layer.conv.bias is not None:
        out += layer.conv.bias.detach().numpy()[:, None, None]
    if hasattr(layer, "norm"):
        state = {name: tensor.numpy() for name, tensor in layer.norm.state_dict().items()}
        mean, scale = state["running_mean"], state["weight"] / np.sqrt(state["running_var"] + 1e-5)
        out = (out - mean[:, None, None]) * scale[:, None, None] + state["bias"][:, None, None]
    return out


def relu(z: Any) -> Any:
    return np.maximum(z, 0)


@pytest.mark.parametrize("side", [6, 7])
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_the_convolutional_network_is_loops(side: int, norm: str) -> None:
    network = made(replace(CONV, side=side, norm=norm))
    x = np.random.default_rng(0).normal(size=(3, side * side))
    h = x.reshape(3, 1, side, side)
    for layer in network.layers:
        h = relu(convolved(h, layer, 2))
    expected = linear(h.reshape(3, -1), network.head)
    np.testing.assert_allclose(network(torch.from_numpy(x)).detach().numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize("side", [7, 8])
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_the_residual_network_is_loops(side: int, norm: str) -> None:
    network = made(replace(RESIDUAL, side=side, norm=norm))
    x = np.random.default_rng(0).normal(size=(3, side * side))
    h = relu(convolved(x.reshape(3, 1, side, side), network.stem, 2))
    for block, halves in zip(network.blocks, (False, True, False), strict=True):
        shortcut = h
        if halves:  # every second position, and one more channel of zeros
            shortcut = np.concatenate([h[:, :, ::2, ::2], np.zeros_like(h[:, :1, ::2, ::2])], axis=1)
        inside = relu(convolved(h, block.first, 2 if halves else 1))
        h = relu(shortcut + convolved(inside, block.second, 1))
    expected = linear(h.mean((2, 3)), network.head)
    np.testing.assert_allclose(network(torch.from_numpy(x)).detach().numpy(), expected, rtol=1e-10)

"""The transformer, once more by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from tests.probes.networks.examples import TRANSFORMER, linear, made, toy


def normed(h: Any, layer: Any) -> Any:
    centred = (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-5)
    return centred * layer.weight.detach().numpy() + layer.bias.detach().numpy()


def attended(h: Any, attention: Any, heads: int) -> Any:
    """Causal attention of one sequence (t, width), position by position and head by head."""
    query, key, value = (linear(h, getattr(attention, name)) for name in ("query", "key", "value"))
    size = h.shape[1] // heads
    out = np.zeros_like(h)
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        for place in range(len(h)):
            scores = np.array([query[place, part] @ key[j, part] for j in range(place + 1)])
            weights = np.exp(scores / math.sqrt(size))
            weights /= weights.sum()
            out[place, part] = sum(w * value[j, part] for j, w in enumerate(weights))
    return linear(out, attention.project)


def test_the_transformer_is_attention_by_hand() -> None:
    from scipy.special import erf

    network = made(TRANSFORMER)
    x = toy(TRANSFORMER, 3).x
    embedded = network.characters.weight.detach().numpy()
    outputs = network(x).detach().numpy()
    for example, characters in enumerate(x.numpy()):
        h = embedded[characters] + network.positions.weight.detach().numpy()
        for block in network.blocks:
            h = h + attended(normed(h, block.attention_norm), block.attention, TRANSFORMER.heads)
            z = linear(normed(h, block.mlp_norm), block.up)
            h = h + linear(z * (1 + erf(z / math.sqrt(2))) / 2, block.down)
        np.testing.assert_allclose(outputs[example], normed(h, network.norm) @ embedded.T, rtol=1e-9)


def test_a_later_character_leaves_earlier_outputs() -> None:
    network = made(TRANSFORMER)
    x = toy(TRANSFORMER, 4).x
    before = network(x)
    for place in range(x.shape[1]):
        changed = x.clone()
        changed[:, place] = (changed[:, place] + 1) % 7
        after = network(changed)
        assert torch.equal(after[:, :place], before[:, :place])
        assert bool((after[:, place:] != before[:, place:]).any(2).all())

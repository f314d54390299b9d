"""Constants of layer norm and attention against exact Jacobians, pairs of points, and cases that reach them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from trust import attention_lipschitz, layer_norm_lipschitz, layer_norm_radius

seeds = st.integers(0, 2**32 - 1)
ROUNDED = 1 + 1e-9  # Jacobians of a few hundred float64 operations, each entry to some 1e-13


def steepness(function: object, x: Tensor) -> float:
    """‖J(x)‖₂ as a map from all of x to all of the output."""
    jacobian = torch.func.jacrev(function)(x).reshape(-1, x.numel())  # type: ignore[arg-type]
    return float(torch.linalg.matrix_norm(jacobian.detach(), 2))


def random(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@settings(max_examples=100, deadline=None)
@given(seed=seeds, width=st.integers(1, 6), log10_size=st.floats(-6, 3))
def test_layer_norm_is_no_steeper_and_no_larger(seed: int, width: int, log10_size: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    norm = nn.LayerNorm(width, eps=1e-5, dtype=torch.float64)
    with torch.no_grad():
        norm.weight.copy_(random(generator, width))
        norm.bias.copy_(random(generator, width))
    gain, bias = norm.weight.detach().abs().max(), norm.bias.detach().norm()
    x, other = 10**log10_size * random(generator, width) + 1, random(generator, width)
    everywhere = layer_norm_lipschitz(largest_gain=gain, epsilon=norm.eps)
    there = layer_norm_lipschitz(
        largest_gain=gain, epsilon=norm.eps, variance=x.var(correction=0)
    )  # 1 − 1e-9 of it may be lost where the entries differ in their last digits alone
    assert steepness(norm, x) <= there * (1 + 1e-6) <= everywhere * (1 + 2e-6)
    with torch.no_grad():
        assert float((norm(x) - norm(other)).norm()) <= everywhere * float((x - other).norm()) * ROUNDED
        assert float(norm(x).norm()) <= layer_norm_radius(width=width, largest_gain=gain, bias_norm=bias)


def test_layer_norm_reaches_its_constant_and_radius() -> None:
    norm = nn.LayerNorm(4, eps=1e-4, dtype=torch.float64)
    assert layer_norm_lipschitz(largest_gain=1.0, epsilon=1e-4) == pytest.approx(100.0)
    assert steepness(norm, torch.ones(4, dtype=torch.float64)) == pytest.approx(100.0)
    x = torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=torch.float64)  # √d/√(1 + ε)
    assert float(norm(x).norm()) == pytest.approx(layer_norm_radius(width=4, largest_gain=1.0), rel=1e-4)
    assert steepness(norm, x) == pytest.approx(
        layer_norm_lipschitz(largest_gain=1.0, epsilon=1e-4, variance=1.0), rel=1e-9
    )
    assert layer_norm_lipschitz(largest_gain=0.0, epsilon=0.0) == math.inf


def attention(x: Tensor, values: Tensor, scores: Tensor, *, causal: bool) -> Tensor:
    """y_i = Σ_j p_ij V_h x_j, the heads (h, …) side by side."""
    found = torch.einsum("id,hde,je->hij", x, scores, x)
    if causal:
        found = found.masked_fill(torch.ones_like(found, dtype=torch.bool).triu(1), -math.inf)
    return torch.einsum("hij,hke,je->ihk", found.softmax(-1), values, x)


def in_ball(x: Tensor, radius: float) -> Tensor:
    """Every token with norm R or less, most of them with R."""
    return radius * x / torch.maximum(x.norm(dim=1, keepdim=True), torch.tensor(0.5, dtype=x.dtype))


def constant(values: Tensor, scores: Tensor, radius: float, length: int) -> float:
    norms = (torch.linalg.matrix_norm(one, 2) for one in (values, scores))
    V, A = norms
    return float(attention_lipschitz(V, score_norms=A, radius=radius, length=length))


@settings(max_examples=100, deadline=None)
@given(
    seed=seeds,
    length=st.integers(1, 6),
    heads=st.integers(1, 3),
    causal=st.booleans(),
    log10_radius=st.floats(-2, 1.5),
    log10_score=st.floats(-2, 1.5),
)
def test_attention_is_no_steeper(
    seed: int, length: int, heads: int, causal: bool, log10_radius: float, log10_score: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    values, scores = random(generator, heads, 2, 3), 10**log10_score * random(generator, heads, 3, 3)
    radius = 10**log10_radius
    x, other = (in_ball(random(generator, length, 3), radius) for _ in range(2))
    bound = constant(values, scores, radius, length)

    def mapped(point: Tensor) -> Tensor:
        return attention(point, values, scores, causal=causal)

    assert steepness(mapped, x) <= bound * ROUNDED
    assert float((mapped(x) - mapped(other)).norm()) <= bound * float((x - other).norm()) * ROUNDED


def test_attention_comes_near_its_constant() -> None:
    """T queries that see ±Ru alike, and a score that turns u by a right angle: nearly all of both of its parts."""
    for length, radius in ((2, 10.0), (20, 10.0), (200, 30.0)):
        u = torch.tensor([1.0, 0.0], dtype=torch.float64)
        signs = torch.ones(length, 1, dtype=torch.float64)
        signs[0] = -1
        scores = torch.tensor([[[0.0, 1.0], [-1.0, 0.0]]], dtype=torch.float64)
        # the first token's share of each softmax is half: its key has ln(t − 1) more
        turned = u * signs * radius
        turned[0] += torch.tensor([0.0, math.log(length - 1) / radius], dtype=torch.float64)
        values = torch.eye(2, dtype=torch.float64)[None]
        largest = float(turned.norm(dim=1).max())
        bound = constant(values, scores, largest, length)
        found = steepness(lambda x, v=values, s=scores: attention(x, v, s, causal=False), turned)
        assert 0.4 * bound < found <= bound * ROUNDED  # the two parts at right angles, and half of x_j − x̄


def test_heads_and_leading_axes() -> None:
    alone = attention_lipschitz([[2.0], [3.0]], score_norms=[[0.5], [0.0]], radius=[2.0, 9.0], length=4)
    np.testing.assert_allclose(alone, [2 * (2 + 3 * 0.5 * 4), 3 * 2])
    assert attention_lipschitz([3.0, 4.0], score_norms=0.0, radius=1.0, length=1) == pytest.approx(5.0)
    with pytest.raises(ValueError, match="value_norms"):
        attention_lipschitz(1.0, score_norms=1.0, radius=1.0, length=1)

"""The worst perturbation where it is known: by closed forms and brute force."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import nn

from probes.measures.adversarial import Ascent, find_worst
from tests.probes.measures.problems import EXACT, batch_of, linear, norm, random


@pytest.mark.parametrize("eta", [1e-4, 0.1, 3.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_linear_layer_and_one_example(eta: float, dtype: torch.dtype) -> None:
    W, x = random(3, 5), torch.from_numpy(random(1, 5, seed=1))
    evaluator = batch_of(linear(W), x, torch.zeros(1, 3), "mse", dtype=dtype)
    # one step: the first goes all the way
    found = find_worst(evaluator, ["weight"], eta, ascent=Ascent(steps=1, restarts=1))
    expected = eta * np.linalg.norm(W) * norm(x) / np.linalg.norm(W @ x[0].numpy())
    # in float32 the sum W + ΔW is rounded at the scale of W
    tolerance = 1e-12 if dtype == EXACT else 1e-6 + 1e-6 / eta
    assert found.value == pytest.approx(expected, rel=tolerance)
    change = found.change["weight"].double()
    along = change @ x[0] / norm(x)  # rank one, with x for its rows
    assert norm(change - along[:, None] * x / norm(x)) <= 1e-6 * norm(change)


def two_layers(eta: float) -> tuple[nn.Module, Any, Any, float]:
    """A linear network with two layers, and the largest output change by brute force on the spheres."""
    A, B, x = random(3, 4), random(2, 3, seed=1), random(6, 4, seed=2)
    size_a, size_b = eta * np.linalg.norm(A), eta * np.linalg.norm(B)
    before = x @ A.T @ B.T

    def height(free: Any) -> float:
        a, b = free[:12].reshape(3, 4), free[12:].reshape(2, 3)
        # convex in each layer, so the maximum is where both are on their spheres
        after = x @ (A + size_a * a / np.linalg.norm(a)).T @ (B + size_b * b / np.linalg.norm(b)).T
        change = np.linalg.norm(after - before, axis=1) / np.linalg.norm(before, axis=1)
        return -float(change.mean())

    starts = random(8, 18, seed=3)
    best = max(-minimize(height, start, method="BFGS", options={"gtol": 1e-7}).fun for start in starts)
    return nn.Sequential(linear(A), linear(B)), torch.from_numpy(x), torch.zeros(6, 2), best


@pytest.mark.parametrize("eta", [0.01, 0.3])
def test_two_linear_layers_against_brute_force(eta: float) -> None:
    network, x, y, best = two_layers(eta)
    evaluator = batch_of(network, x, y, "mse", chunk=4)
    found = find_worst(evaluator, ["0.weight", "1.weight"], eta, ascent=Ascent(steps=60, restarts=6))
    assert found.value == pytest.approx(best, rel=1e-5)


def test_breakdown_of_a_quadratic() -> None:
    W, x, y = random(3, 5), random(40, 5, seed=1) * [3, 1, 1, 1, 0.3], random(40, 3, seed=2)
    evaluator = batch_of(linear(W), torch.from_numpy(x), torch.from_numpy(y), "mse")
    eta, second_moment = 0.2, x.T @ x
    found = find_worst(evaluator, ["weight"], eta, ascent=Ascent("breakdown", restarts=1))
    values, vectors = np.linalg.eigh(second_moment)
    # g = 2/(3·40) Σ (Wx − y) xᵀ changes by 2/(3·40) ΔW Σ xxᵀ
    g = (x @ W.T - y).T @ x
    assert found.value == pytest.approx(eta * np.linalg.norm(W) * values[-1] / np.linalg.norm(g), rel=1e-10)
    change = found.change["weight"].numpy()
    assert np.linalg.norm(change @ vectors[:, -1]) == pytest.approx(np.linalg.norm(change), rel=1e-9)


def test_biases_alone() -> None:
    W, b, x = random(3, 5), random(3, seed=4), random(7, 5, seed=1)
    evaluator = batch_of(linear(W, b), torch.from_numpy(x), torch.zeros(7, 3), "mse", chunk=3)
    found = find_worst(evaluator, ["bias"], 0.1, ascent=Ascent(examples=5, restarts=1))
    sizes = np.linalg.norm(x[:5] @ W.T + b, axis=1)
    assert list(found.change) == ["bias"]
    assert found.value == pytest.approx(0.1 * np.linalg.norm(b) * np.mean(1 / sizes), rel=1e-12)


def test_an_example_without_output_is_left_out() -> None:
    W, x = random(3, 5), random(3, 5, seed=1)
    x[1] = 0
    ascent = Ascent(restarts=1)
    found, expected = (
        find_worst(
            batch_of(linear(W), inputs, torch.zeros(len(inputs), 3), "mse"), ["weight"], 0.1, ascent=ascent
        )
        for inputs in (torch.from_numpy(x), torch.from_numpy(x[[0, 2]]))
    )
    assert found.value == pytest.approx(expected.value, rel=1e-12)

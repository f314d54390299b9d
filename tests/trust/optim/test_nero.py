"""Nero against its formula in NumPy, and the space that it keeps to."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from trust.optim import Nero, balanced


def by_the_formula(w: np.ndarray, gradients: list[np.ndarray], *, lr: float, beta: float) -> list[np.ndarray]:
    """Algorithm 1 on one neuron's weights (n,) after the other."""

    def onto(v: np.ndarray) -> np.ndarray:
        v = v - v.mean()
        return v / np.sqrt((v**2).sum())

    w, average, steps = onto(w), 0.0, []
    for t, g in enumerate(gradients, 1):
        average = beta * average + (1 - beta) * (g**2).sum()
        w = onto(w - lr * np.sqrt((w**2).sum()) / np.sqrt(average / (1 - beta**t)) * g)
        steps.append(w)
    return steps


@pytest.mark.parametrize("shape", [(3, 5), (3, 2, 2, 2)])
@pytest.mark.parametrize(("lr", "beta"), [(0.01, 0.999), (0.3, 0.5), (0.1, 0.0)])
def test_every_step_is_the_formulas(shape: tuple[int, ...], lr: float, beta: float) -> None:
    random = np.random.default_rng(0)
    start, gradients = random.normal(size=shape), random.normal(size=(6, *shape))
    W = torch.nn.Parameter(torch.tensor(start))
    optimizer = Nero([W], lr=lr, beta=beta)
    expected = [
        by_the_formula(row.ravel(), [g[i].ravel() for g in gradients], lr=lr, beta=beta)
        for i, row in enumerate(start)
    ]
    for step, gradient in enumerate(gradients):
        W.grad = torch.tensor(gradient)
        optimizer.step()
        # A sum of five squares in another order: some ε.
        np.testing.assert_allclose(
            W.detach().flatten(1).numpy(), [neuron[step] for neuron in expected], rtol=0, atol=1e-14
        )


def test_weights_are_balanced_when_taken_and_after_every_step() -> None:
    W = torch.nn.Parameter(5 + torch.randn(4, 9, generator=torch.Generator().manual_seed(0)))
    optimizer = Nero([W])
    for step in range(5):
        rows = W.detach().double()
        # float32: nine weights of size 1/3, each rounded to 2⁻²⁴ of itself
        assert rows.mean(dim=1).abs().max() < 1e-7, step
        assert (rows.norm(dim=1) - 1).abs().max() < 1e-6, step
        W.grad = 1 + torch.randn(4, 9, generator=torch.Generator().manual_seed(step))
        optimizer.step()


def test_a_neuron_turns_by_eta() -> None:
    """The first step, for a gradient at right angles to the weights and to the ones: by arctan η."""
    W = torch.nn.Parameter(torch.tensor([[1.0, -1.0, 0.0, 0.0]], dtype=torch.float64))
    optimizer = Nero([W], lr=0.75)
    before = W.detach().clone()
    W.grad = torch.tensor([[0.0, 0.0, 3.0, -3.0]], dtype=torch.float64)
    optimizer.step()
    assert (W * before).sum().item() == pytest.approx(0.8)  # cos arctan ¾


def test_numbers_of_a_vector_move_by_its_first_scale() -> None:
    bias, zero, single = (
        torch.nn.Parameter(torch.tensor(values, dtype=torch.float64))
        for values in ([3.0, -4.0], [0.0, 0.0], [[2.0], [2.0]])
    )
    optimizer = Nero([bias, zero, single], lr=0.1, beta=0.75)
    for tensor in (bias, zero, single):
        tensor.grad = torch.tensor([2.0, -0.5], dtype=torch.float64).view(tensor.shape)
    optimizer.step()
    scale = math.sqrt(12.5)
    np.testing.assert_allclose(bias.detach(), [3 - 0.1 * scale, -4 + 0.1 * scale], rtol=1e-15)
    np.testing.assert_allclose(zero.detach(), [-0.001, 0.001], rtol=1e-15)
    np.testing.assert_allclose(single.detach(), [[1.8], [2.2]], rtol=1e-15)
    for tensor in (bias, zero, single):
        tensor.grad = torch.tensor([1.0, 0.0], dtype=torch.float64).view(tensor.shape)
    optimizer.step()
    # ḡ² = (¾ · ¼ · 4 + ¼ · 1)/(1 − 9/16) = 16/7
    assert bias[0].item() == pytest.approx(3 - 0.1 * scale - 0.1 * scale / math.sqrt(16 / 7))
    assert bias[1].item() == pytest.approx(-4 + 0.1 * scale)


def test_what_has_no_direction_stays() -> None:
    W = torch.nn.Parameter(torch.tensor([[1.0, -1.0], [2.0, 0.0]], dtype=torch.float64))
    optimizer = Nero([W], lr=0.5)
    before = W.detach().clone()
    W.grad = torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    optimizer.step()
    torch.testing.assert_close(W[0].detach(), before[0], rtol=1e-15, atol=0)
    assert torch.equal(balanced(torch.full((1, 3), 0.1)), torch.zeros(1, 3))  # (0.1 + 0.1 + 0.1)/3 ≠ 0.1


@pytest.mark.parametrize("beta", [-0.1, 1.0, math.nan])
def test_bad_beta(beta: float) -> None:
    with pytest.raises(ValueError, match="beta must be at least 0 and below 1"):
        Nero([torch.nn.Parameter(torch.ones(2))], beta=beta)

"""Madam against its formula in NumPy: signs, factors and bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from trust.optim import Madam


@pytest.mark.parametrize(
    ("lr", "beta", "g_bound", "p_scale"),
    [(0.01, 0.999, 10.0, 3.0), (0.3, 0.9, 1.2, 1.1), (0.1, 0.0, 0.5, 3.0)],
)
def test_every_step_is_the_formulas(lr: float, beta: float, g_bound: float, p_scale: float) -> None:
    random = np.random.default_rng(0)
    w, gradients = (
        random.normal(size=(4, 3)),
        random.normal(size=(8, 4, 3)) * 10.0 ** np.arange(-4, 4)[:, None, None],
    )
    W = torch.nn.Parameter(torch.tensor(w))
    optimizer = Madam([W], lr=lr, beta=beta, g_bound=g_bound, p_scale=p_scale)
    average, bound = np.zeros((4, 3)), p_scale * np.sqrt((w**2).mean())
    clipped = 0
    for t, g in enumerate(gradients, 1):
        average = beta * average + (1 - beta) * g**2
        ratio = g / np.sqrt(average / (1 - beta**t))
        clipped += (np.abs(ratio) > g_bound).sum()
        w = np.clip(w * np.exp(-lr * np.sign(w) * np.clip(ratio, -g_bound, g_bound)), -bound, bound)
        W.grad = torch.tensor(g)
        optimizer.step()
        np.testing.assert_allclose(W.detach().numpy(), w, rtol=1e-13)
    assert clipped or g_bound == 10


def test_a_first_step_multiplies_by_exp_eta() -> None:
    W = torch.nn.Parameter(torch.tensor([2.0, -2.0, 2.0, 0.0], dtype=torch.float64))
    W.grad = torch.tensor([1e-9, 1e-9, 0.0, -1.0], dtype=torch.float64)
    Madam([W], lr=0.1).step()
    # towards zero where the gradient points away from it, and never through it
    np.testing.assert_allclose(
        W.detach().numpy(), [2 * math.exp(-0.1), -2 * math.exp(0.1), 2.0, 0.0], rtol=1e-15
    )


def test_no_weight_changes_its_sign_or_leaves_its_range() -> None:
    W = torch.nn.Parameter(torch.tensor([1.0, -1.0]))
    optimizer = Madam([W], lr=0.5, p_scale=2.0)
    for _ in range(200):
        W.grad = torch.tensor([-1.0, -1.0])
        optimizer.step()
    assert W[0].item() == 2
    assert -1e-30 < W[1].item() < 0


@pytest.mark.parametrize(
    "options", [{"p_scale": 0.0}, {"g_bound": -1.0}, {"g_bound": math.nan}, {"beta": 1.0}]
)
def test_bad_options(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Madam([torch.nn.Parameter(torch.ones(2))], **options)

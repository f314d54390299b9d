"""With their averages off Adam, Shampoo and Prodigy are steepest descent under norms (arXiv 2409.20325).

Under a norm ‖·‖ the steepest direction minimises ⟨g, d⟩ over ‖d‖ ≤ 1; the minimum is −‖g‖_*, the dual norm. For
max_ij |d_ij| it is −sign(g), and ‖g‖_* = Σ|g_ij|; for the spectral norm it is −UVᵀ, and ‖g‖_* = Σσ_i.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

RANDOM = np.random.default_rng(0)
GRADIENTS = RANDOM.normal(size=(5, 3, 4)) * 10.0 ** np.arange(-2, 3)[:, None, None]


def stepped(optimizer: torch.optim.Optimizer, W: torch.nn.Parameter, g: np.ndarray) -> np.ndarray:
    before = W.detach().numpy().copy()
    W.grad = torch.tensor(g, dtype=W.dtype)
    optimizer.step()
    return W.detach().numpy() - before


def polar(g: np.ndarray) -> np.ndarray:
    u, _, vh = np.linalg.svd(g, full_matrices=False)
    return u @ vh


@pytest.mark.parametrize(
    ("steepest", "norm", "dual"),
    [
        (np.sign, lambda d: np.abs(d).max(), lambda g: np.abs(g).sum()),
        (polar, lambda d: np.linalg.norm(d, 2), lambda g: np.linalg.norm(g, "nuc")),
    ],
)
def test_nothing_of_that_norm_is_steeper(
    steepest: Callable[[np.ndarray], np.ndarray],
    norm: Callable[[np.ndarray], float],
    dual: Callable[[np.ndarray], float],
) -> None:
    for g in GRADIENTS:
        d = -steepest(g)
        assert norm(d) == pytest.approx(1)
        assert (g * d).sum() == pytest.approx(-dual(g))
        others = [other / norm(other) for other in RANDOM.normal(size=(200, 3, 4))]
        assert min((g * other).sum() for other in others) > -dual(g)


def test_adam_is_sign_descent() -> None:
    W = torch.nn.Parameter(torch.tensor(RANDOM.normal(size=(3, 4))))
    optimizer = torch.optim.Adam([W], lr=0.1, betas=(0.0, 0.0), eps=0.0)
    for g in GRADIENTS:
        np.testing.assert_allclose(stepped(optimizer, W, g), -0.1 * np.sign(g), rtol=0, atol=1e-15)


def test_shampoo_is_spectral_descent() -> None:
    """(GGᵀ)^(−¼) G (GᵀG)^(−¼) = UVᵀ: from the formula, and as a library's first step, before anything is summed."""
    pytorch_optimizer = pytest.importorskip("pytorch_optimizer")
    for g in RANDOM.normal(size=(5, 3, 3)):

        def root(square: np.ndarray) -> np.ndarray:
            values, vectors = np.linalg.eigh(square)
            return vectors @ np.diag(values**-0.25) @ vectors.T

        np.testing.assert_allclose(root(g @ g.T) @ g @ root(g.T @ g), polar(g), atol=1e-10)
        W = torch.nn.Parameter(torch.zeros(3, 3, dtype=torch.float64))
        library = pytorch_optimizer.Shampoo([W], lr=1.0, momentum=0.0, matrix_eps=1e-14)
        np.testing.assert_allclose(stepped(library, W, g), -polar(g), atol=1e-6)


def test_prodigy_is_sign_descent_of_a_size_that_it_finds() -> None:
    """η ← max(η, ⟨g, w₀ − w⟩/Σ|g_ij|), w ← w − η sign(g); the library's takes the last step's η."""
    pytorch_optimizer = pytest.importorskip("pytorch_optimizer")
    start = RANDOM.normal(size=(3, 4))
    W = torch.nn.Parameter(torch.tensor(start, dtype=torch.float32))
    optimizer = pytorch_optimizer.Prodigy([W], lr=1.0, betas=(0.0, 0.0), d0=1e-3)
    eta, target = 1e-3, start - 1.0
    sizes = []
    for _ in range(12):
        w = W.detach().numpy().astype(float)
        g = w - target
        # m = ηg and √v = η|g| use the η of before, and so does the step: what g says counts from the next on
        step = stepped(optimizer, W, g)
        np.testing.assert_allclose(step, -eta * np.sign(g), rtol=0, atol=1e-6)
        eta = max(eta, float((g * (start - w)).sum() / np.abs(g).sum()))
        sizes.append(eta)
    assert sizes[-1] > 10 * sizes[0]

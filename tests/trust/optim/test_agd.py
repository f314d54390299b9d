"""Automatic gradient descent: its step is `trust.agd_step`, its start is orthogonal."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import trust
from trust.optim import AGD, agd_initialisation_


def test_every_step_is_the_formulas() -> None:
    random = np.random.default_rng(0)
    shapes = [(6, 4), (5, 6), (3, 5)]
    weights = [random.normal(size=shape) for shape in shapes]
    parameters = [torch.nn.Parameter(torch.tensor(w)) for w in weights]
    optimizer = AGD([{"params": parameters[:2]}, {"params": parameters[2:], "lr": 2.0}])
    for size in (1e-8, 1.0, 1e8):
        gradients = [size * random.normal(size=shape) for shape in shapes]
        norms = [np.sqrt((g**2).sum()) for g in gradients]
        G = np.mean([math.sqrt(m / n) * norm for (m, n), norm in zip(shapes, norms, strict=True)])
        eta = math.log((1 + math.sqrt(1 + 4 * G)) / 2)
        assert float(trust.agd_step(norms, rows=[6, 5, 3], columns=[4, 6, 5])) == pytest.approx(eta, rel=1e-7)
        for W, g in zip(parameters, gradients, strict=True):
            W.grad = torch.tensor(g)
        before = [W.detach().numpy().copy() for W in parameters]
        optimizer.step()
        for k, (m, n) in enumerate(shapes):
            step = (2 if k == 2 else 1) * eta / 3 * math.sqrt(m / n) * gradients[k] / norms[k]
            # log(1 + 1e-8) loses eight digits in the plain formula, not in `agd_step`
            np.testing.assert_allclose(
                parameters[k].detach().numpy() - before[k], -step, rtol=1e-7, atol=1e-16
            )


def test_a_layer_without_a_gradient_leaves_the_depth_and_one_of_zero_stays_in_it() -> None:
    def moved(*gradients: float | None) -> float:
        parameters = [torch.nn.Parameter(torch.eye(2, dtype=torch.float64)) for _ in gradients]
        for W, g in zip(parameters, gradients, strict=True):
            W.grad = None if g is None else g * torch.eye(2, dtype=torch.float64)
        AGD(parameters).step()
        return 1 - parameters[0][0, 0].item()

    eta = {layers: math.log((1 + math.sqrt(1 + 4 * math.sqrt(2) / layers)) / 2) for layers in (1, 2)}
    assert moved(1.0, None) == pytest.approx(eta[1] / math.sqrt(2))
    assert moved(1.0, 0.0) == pytest.approx(eta[2] / 2 / math.sqrt(2))


def test_a_gradient_of_no_number_makes_weights_of_none() -> None:
    W = torch.nn.Parameter(torch.eye(2))
    W.grad = torch.full((2, 2), torch.nan)
    AGD([W]).step()
    assert torch.isnan(W).all()


@pytest.mark.parametrize("shape", [(3, 7), (7, 3), (4, 2, 3, 3)])
def test_initialisation(shape: tuple[int, ...]) -> None:
    W = agd_initialisation_(torch.empty(shape), generator=torch.Generator().manual_seed(0))
    rows, columns = shape[0], math.prod(shape[1:])
    values = torch.linalg.svdvals(W.flatten(1).double())
    np.testing.assert_allclose(values, math.sqrt(rows / columns), rtol=1e-6)
    again = agd_initialisation_(torch.empty(shape), generator=torch.Generator().manual_seed(0))
    assert torch.equal(W, again)


def test_vectors_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(3,\): leave biases out"):
        AGD(torch.nn.Linear(2, 3).parameters())

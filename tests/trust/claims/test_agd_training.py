"""The majorisation along automatic gradient descent's own training, where it begins and as it goes on."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np
import pytest
import torch

import trust
from analysis.statuses import Verdict
from tests.trust.claims.examples import verdict
from tests.trust.claims.slices import measured, network_of
from trust.optim import AGD, agd_initialisation_

WIDTHS = (6, 8, 4)
_STEPS = 6


class Step(NamedTuple):
    """One of its steps: what the claim says of it, and what it should be."""

    verdict: Verdict
    change: float
    bound: float
    spectral: list[float]
    stable_ranks: list[float]


@pytest.fixture(scope="module")
def steps() -> list[Step]:
    """Full-batch steps on ‖x‖ = √6 and targets with ‖y‖ = 2, from orthogonal weights, each measured along itself."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    x *= math.sqrt(6) / x.norm(dim=1, keepdim=True)
    y = 2 * torch.eye(4, dtype=torch.float64)[torch.arange(6) % 4]
    network = network_of(WIDTHS, "tanh")
    for weight in network.parameters():
        agd_initialisation_(weight, generator=generator)
    scales = [math.sqrt(m / n) for n, m in itertools.pairwise(WIDTHS)]
    optimizer = AGD(network.parameters())
    found = []
    for _ in range(_STEPS):
        before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
        spectral = [
            float(torch.linalg.matrix_norm(weight, 2)) / scale
            for weight, scale in zip(before.values(), scales, strict=True)
        ]
        optimizer.zero_grad()
        loss = ((network(x) - y) ** 2).sum(1).mean() / 2 / 4
        loss.backward()
        gradients = [weight.grad.clone() for weight in network.parameters()]
        eta = float(
            trust.agd_step([float(g.norm()) for g in gradients], rows=WIDTHS[1:], columns=WIDTHS[:-1])
        )
        optimizer.step()
        after = {name: weight.detach().clone() for name, weight in network.named_parameters()}
        change = float(((network(x) - y) ** 2).sum(1).mean() / 2 / 4 - loss)
        G = sum(s * float(g.norm()) for s, g in zip(scales, gradients, strict=True)) / 2
        with torch.no_grad():
            network.load_state_dict(before)
        etas = np.array([0.0, 0.01, 0.1])
        said = verdict(
            "agd-majorisation", measured(network, x, y, direction="update", following=after, etas=etas).found
        )
        with torch.no_grad():
            network.load_state_dict(after)
        ranks = [float(trust.stable_rank(g.numpy())) for g in gradients]
        found.append(Step(said, change, -eta * G + 0.5 * math.expm1(eta) ** 2, spectral, ranks))
    return found


def test_its_premises_hold_where_it_begins_as_far_as_its_step_lets_them(steps: list[Step]) -> None:
    first = steps[0].verdict.premises
    for premise in ("no biases", "φ(0) = 0", "1-Lipschitz", "square loss", "scaled data", "scaled weights"):
        assert first[premise] is True, premise
    # ‖ΔW_k‖₂ is ‖ΔW_k‖_F only of a gradient of rank one
    assert min(steps[0].stable_ranks) > 1.01
    assert first["scaled step"] is False


def test_the_weights_leave_their_scale_and_the_bound_on_the_loss_still_holds(steps: list[Step]) -> None:
    assert max(abs(size - 1) for size in steps[0].spectral) < 1e-6
    assert max(abs(size - 1) for size in steps[-1].spectral) > 0.01
    assert steps[-1].verdict.premises["scaled weights"] is False
    for step in steps:
        assert step.change <= step.bound < 0
        assert not step.verdict.worst_log10_ratio > 0

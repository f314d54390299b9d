"""The measured-limit rule, against quadratics whose limit is known and the rule in NumPy."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from trust.optim import Fromage, MeasuredLimit


def power_loss(
    optimizer: torch.optim.Optimizer, weights: list[nn.Parameter], losses: list[float], power: int = 2
) -> Callable[[], torch.Tensor]:
    """5/p Σ ‖W_l − 1‖_p^p, with gradients 5 (W_l − 1)^(p − 1)."""

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = sum((5 / power * (W - 1).pow(power).sum() for W in weights), torch.zeros(()))
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(float(loss.detach()))
        return loss.detach()

    return closure


def tensors(count: int = 2) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [
        nn.Parameter(3 + torch.randn(3, 2, generator=generator, dtype=torch.float64)) for _ in range(count)
    ]


def limit_of_quadratic(weights: list[np.ndarray]) -> float:
    """2|𝓛'|/𝓛'' along d_l = −‖W_l‖ g_l/‖g_l‖, for which 𝓛' = −Σ‖W_l‖‖g_l‖ and 𝓛'' = k Σ‖W_l‖²: 2/λ, relatively."""
    norms = [np.linalg.norm(W) for W in weights]
    slopes = [norm * 5 * np.linalg.norm(W - 1) for norm, W in zip(norms, weights, strict=True)]
    return 2 * sum(slopes) / (5 * sum(norm**2 for norm in norms))


@pytest.mark.parametrize("power", [2, 4])
@pytest.mark.parametrize("factor", [0.5, 1.0])
def test_each_step_is_the_rule_in_numpy(power: int, factor: float) -> None:
    """Secants from half the last limit, clipped, medians of five, every third step."""
    weights = tensors()
    optimizer = Fromage(weights)
    rule = MeasuredLimit(optimizer, factor=factor, every=3)
    closure = power_loss(optimizer, weights, [], power)
    cap = math.sqrt(2) - 1
    assert rule.cap == pytest.approx(cap)
    arrays, kept, last = [W.detach().numpy().copy() for W in weights], [], cap
    for step in range(30):
        gradients = [5 * (W - 1) ** (power - 1) for W in arrays]
        moves = [-np.linalg.norm(W) / np.linalg.norm(g) * g for W, g in zip(arrays, gradients, strict=True)]
        if step % 3 == 0:
            e, pairs = last / 2, list(zip(arrays, moves, strict=True))
            s0, s1 = (sum((5 * (W + at * d - 1) ** (power - 1) * d).sum() for W, d in pairs) for at in (0, e))
            limit = 2 * s0 * e / (s0 - s1)
            if power == 2:
                assert limit == pytest.approx(limit_of_quadratic(arrays), rel=1e-9)
            last = min(max(limit, last / 4), last * 4)
            kept = [*kept, last][-5:]
        eta = min(factor * float(np.median(kept)), cap)
        rule.step(closure)
        assert rule.limit == pytest.approx(np.median(kept), rel=1e-9)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(eta, rel=1e-9)
        arrays = [(W + eta * d) / math.sqrt(1 + eta * eta) for W, d in zip(arrays, moves, strict=True)]
        for W, array in zip(weights, arrays, strict=True):
            np.testing.assert_allclose(W.detach().numpy(), array, rtol=1e-9)


def test_measuring_leaves_no_trace_and_asks_for_one_gradient_more() -> None:
    weights, losses = tensors(), []
    optimizer = Fromage(weights)
    rule = MeasuredLimit(optimizer, every=4)
    plain = copy.deepcopy(weights)
    for _ in range(8):
        before = [W.detach().clone() for W in weights]
        rule.step(power_loss(optimizer, weights, losses))
        other = Fromage(plain, lr=optimizer.param_groups[0]["lr"])
        with torch.no_grad():
            for W, old in zip(plain, before, strict=True):
                W.copy_(old)
        power_loss(other, plain, [])()
        other.step()
        for W, expected in zip(weights, plain, strict=True):
            assert torch.equal(W, expected)
            assert torch.equal(W.grad, expected.grad)  # type: ignore[arg-type]
    assert len(losses) == 8 + 2


def test_weights_are_put_back_when_the_closure_fails() -> None:
    weights, losses = tensors(), []
    optimizer = Fromage(weights)
    inner, before = power_loss(optimizer, weights, losses), [W.detach().clone() for W in weights]

    def closure() -> torch.Tensor:
        if losses:
            raise KeyboardInterrupt
        return inner()

    with pytest.raises(KeyboardInterrupt):
        MeasuredLimit(optimizer).step(closure)
    assert all(torch.equal(W, old) for W, old in zip(weights, before, strict=True))


def test_without_curvature_the_limit_grows_fourfold_and_eta_is_capped() -> None:
    (W,) = weights = tensors(1)
    optimizer = Fromage(weights)
    rule = MeasuredLimit(optimizer, every=1)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = W.sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    limits = []
    for _ in range(3):
        rule.step(closure)
        limits.append(rule.limit)
        assert optimizer.param_groups[0]["lr"] == 1  # 2^(1/1) − 1
    assert limits == [4, 10, 16]  # medians of 4, 16, 64


def test_a_loss_that_is_no_number_there_is_far_beyond_the_limit() -> None:
    (W,) = weights = tensors(1)
    optimizer = Fromage(weights)
    rule = MeasuredLimit(optimizer, every=1)
    start = W.detach().clone()

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = W.square().sum() * (1 if torch.equal(W, start) else math.nan)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    rule.step(closure)
    assert rule.limit == 0.25


def test_nothing_is_measured_where_there_is_no_descent() -> None:
    weights = [nn.Parameter(torch.ones(3, 2))]  # the minimum
    optimizer = Fromage(weights, lr=0.125)
    rule = MeasuredLimit(optimizer)
    rule.step(power_loss(optimizer, weights, []))
    assert math.isnan(rule.limit)
    assert optimizer.param_groups[0]["lr"] == 0.125


def test_a_state_from_a_file_continues_identically() -> None:
    def begun() -> tuple[list[nn.Parameter], MeasuredLimit]:
        weights = tensors()
        return weights, MeasuredLimit(Fromage(weights, p_bound=1.5), every=3)

    weights, rule = begun()
    for _ in range(7):
        rule.step(power_loss(rule.optimizer, weights, []))
    file = io.BytesIO()
    torch.save({"W": [W.detach() for W in weights], "rule": rule.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    others, again = begun()
    with torch.no_grad():
        for W, kept in zip(others, saved["W"], strict=True):
            W.copy_(kept)
    again.load_state_dict(saved["rule"])
    for _ in range(8):
        rule.step(power_loss(rule.optimizer, weights, []))
        again.step(power_loss(again.optimizer, others, []))
    assert again.limit == rule.limit
    assert all(torch.equal(one, other) for one, other in zip(weights, others, strict=True))


def test_what_is_refused() -> None:
    weights = tensors()
    with pytest.raises(TypeError, match="takes a Fromage, got SGD"):
        MeasuredLimit(torch.optim.SGD(weights, lr=0.1, momentum=0.9))  # type: ignore[arg-type]
    for given in ({"factor": 0.0}, {"factor": math.inf}, {"every": 0}):
        with pytest.raises(ValueError, match="factor must be"):
            MeasuredLimit(Fromage(weights), **given)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="depth"):
        MeasuredLimit(Fromage(weights), depth=0)

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


def quadratic(
    optimizer: torch.optim.Optimizer, weights: list[nn.Parameter], curvature: float, losses: list[float]
) -> Callable[[], torch.Tensor]:
    """½ k Σ ‖W_l − 1‖²."""

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = sum((0.5 * curvature * (W - 1).square().sum() for W in weights), torch.zeros(()))
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(float(loss.detach()))
        return loss.detach()

    return closure


def tensors(count: int = 2) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [
        nn.Parameter(3 + torch.randn(3, 2, generator=generator, dtype=torch.float64)) for _ in range(count)
    ]


def limit_of(weights: list[np.ndarray], curvature: float) -> float:
    """2|𝓛'|/𝓛'' along d_l = −‖W_l‖ g_l/‖g_l‖, for which 𝓛' = −Σ‖W_l‖‖g_l‖ and 𝓛'' = k Σ‖W_l‖²."""
    norms = [np.linalg.norm(W) for W in weights]
    slopes = [norm * curvature * np.linalg.norm(W - 1) for norm, W in zip(norms, weights, strict=True)]
    return 2 * sum(slopes) / (curvature * sum(norm**2 for norm in norms))


@pytest.mark.parametrize("factor", [0.5, 1.0])
def test_each_step_is_the_rule_in_numpy(factor: float) -> None:
    """Clipped medians of five, every third step; the curvature has no part in a quadratic's relative limit."""
    weights = tensors()
    optimizer = Fromage(weights)
    rule = MeasuredLimit(optimizer, factor=factor, every=3)
    closure = quadratic(optimizer, weights, 5.0, [])
    cap = math.sqrt(2) - 1
    assert rule.cap == pytest.approx(cap)
    arrays, kept, last = [W.detach().numpy().copy() for W in weights], [], cap
    for step in range(30):
        if step % 3 == 0:
            last = min(max(limit_of(arrays, 5.0), last / 4), last * 4)
            kept = [*kept, last][-5:]
        eta = min(factor * float(np.median(kept)), cap)
        rule.step(closure)
        assert rule.limit == pytest.approx(np.median(kept), rel=1e-9)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(eta, rel=1e-9)
        for k, W in enumerate(arrays):
            g = 5.0 * (W - 1)
            arrays[k] = (W - eta * np.linalg.norm(W) / np.linalg.norm(g) * g) / math.sqrt(1 + eta * eta)
        for W, array in zip(weights, arrays, strict=True):
            np.testing.assert_allclose(W.detach().numpy(), array, rtol=1e-9)


def test_measuring_leaves_no_trace_and_asks_for_one_gradient_more() -> None:
    weights, losses = tensors(), []
    optimizer = Fromage(weights)
    rule = MeasuredLimit(optimizer, every=4)
    plain = copy.deepcopy(weights)
    for _ in range(8):
        before = [W.detach().clone() for W in weights]
        rule.step(quadratic(optimizer, weights, 2.0, losses))
        other = Fromage(plain, lr=optimizer.param_groups[0]["lr"])
        with torch.no_grad():
            for W, old in zip(plain, before, strict=True):
                W.copy_(old)
        quadratic(other, plain, 2.0, [])()
        other.step()
        for W, expected in zip(weights, plain, strict=True):
            assert torch.equal(W, expected)
            assert torch.equal(W.grad, expected.grad)  # type: ignore[arg-type]
    assert len(losses) == 8 + 2


def test_weights_are_put_back_when_the_closure_fails() -> None:
    weights, losses = tensors(), []
    optimizer = Fromage(weights)
    inner, before = quadratic(optimizer, weights, 1.0, losses), [W.detach().clone() for W in weights]

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
    rule.step(quadratic(optimizer, weights, 1.0, []))
    assert math.isnan(rule.limit)
    assert optimizer.param_groups[0]["lr"] == 0.125


def test_a_state_from_a_file_continues_identically() -> None:
    def begun() -> tuple[list[nn.Parameter], MeasuredLimit]:
        weights = tensors()
        return weights, MeasuredLimit(Fromage(weights, p_bound=1.5), every=3)

    weights, rule = begun()
    for _ in range(7):
        rule.step(quadratic(rule.optimizer, weights, 3.0, []))
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
        rule.step(quadratic(rule.optimizer, weights, 3.0, []))
        again.step(quadratic(again.optimizer, others, 3.0, []))
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

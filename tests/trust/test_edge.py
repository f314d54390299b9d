"""The edges against the recurrences that they are the edges of."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trust import adam_edge, gd_edge, sam_edge


def test_closed_forms() -> None:
    assert gd_edge(step=0.1) == pytest.approx(20, rel=1e-15)
    assert np.isinf(gd_edge(step=0.0))
    assert adam_edge(step=1e-3) == pytest.approx(38 / 1e-3, rel=1e-14)
    assert adam_edge(step=0.5, beta1=0.0) == 4
    # ‖g‖ = 2, ρ = 0.1, η = 0.4: (2/0.2)(√(1 + 0.8/0.8) − 1)
    assert sam_edge(step=0.4, rho=0.1, gradient_norm=2.0) == pytest.approx(10 * (math.sqrt(2) - 1), rel=1e-15)
    np.testing.assert_allclose(gd_edge(step=[1.0, 4.0]), [2, 0.5])


@pytest.mark.parametrize("step", [0.01, 0.3])
def test_gradient_descent_stays_below_its_edge_and_leaves_above(step: float) -> None:
    for share, stays in ((0.99, True), (1.01, False)):
        w = 1.0
        for _ in range(2000):
            w -= step * share * float(gd_edge(step=step)) * w
        assert (abs(w) < 1) == stays


@pytest.mark.parametrize("beta1", [0.0, 0.5, 0.9])
def test_averaged_gradients_stay_below_adams_edge_and_leave_above(beta1: float) -> None:
    """Adam with a preconditioner that stays 1, long after its first steps, on a quadratic."""
    step = 0.1
    for share, stays in ((0.99, True), (1.01, False)):
        curvature = share * float(adam_edge(step=step, beta1=beta1))
        w, m = 1.0, 0.0
        for _ in range(20_000):
            m = beta1 * m + (1 - beta1) * curvature * w
            w -= step * m
            if abs(w) > 1e6:
                break
        assert (abs(w) < 1e-3) == stays


def test_sam_settles_into_steps_to_and_fro_exactly_at_its_edge() -> None:
    """On a quadratic, one dimension: w ← w − ηλ(w + ρ sign w); at the edge for ‖g‖ = λ|w|, w goes to −w."""
    step, rho, w = 0.3, 0.2, 0.7

    def surplus(curvature: float) -> float:
        return curvature - float(sam_edge(step=step, rho=rho, gradient_norm=curvature * w))

    low, high = 1e-3, 100.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if surplus(middle) < 0 else (low, middle)
    assert w - step * low * (w + rho) == pytest.approx(-w, rel=1e-12)


def test_sams_limits() -> None:
    for rho in (0.0, 1e-30, 1e-12):
        assert sam_edge(step=0.1, rho=rho, gradient_norm=3.0) == pytest.approx(20, rel=1e-9)
    assert sam_edge(step=0.1, rho=0.05, gradient_norm=0.0) == 0
    assert sam_edge(step=0.1, rho=0.0, gradient_norm=0.0) == 20
    edges = sam_edge(step=0.1, rho=[0.01, 0.1, 1.0], gradient_norm=1.0)
    assert (np.diff(edges) < 0).all()
    # as published, where nothing cancels
    g, rho, eta = 0.5, 0.1, 0.1
    published = g / (2 * rho) * (math.sqrt(1 + 8 * rho / (eta * g)) - 1)
    assert sam_edge(step=eta, rho=rho, gradient_norm=g) == pytest.approx(published, rel=1e-14)


def test_what_has_no_edge_is_refused() -> None:
    with pytest.raises(ValueError, match="step"):
        gd_edge(step=-1.0)
    with pytest.raises(ValueError, match="beta1 must be below 1"):
        adam_edge(step=0.1, beta1=1.0)
    for step, rho in ((0.0, 0.1), (math.inf, 0.1), (0.1, math.inf)):
        with pytest.raises(ValueError, match="must be"):
            sam_edge(step=step, rho=rho, gradient_norm=1.0)
    with pytest.raises(ValueError, match="gradient_norm"):
        sam_edge(step=0.1, rho=0.1, gradient_norm=math.nan)

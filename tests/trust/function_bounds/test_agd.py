"""Automatic gradient descent's step and curvature: exact decimals, minima and bounds."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trust.function_bounds import (
    agd_step,
    log10_agd_curvature_bound,
    log10_spectral_product_bound,
)


def exact_agd_step(G: Decimal) -> float:
    with localcontext() as context:
        context.prec = 400
        return float(((1 + (1 + 4 * G).sqrt()) / 2).ln())


@pytest.mark.parametrize("G", [1e-300, 1e-12, 1e-3, 1.0, 1e5, 1e43, 1e44, 1e300])
def test_agd_step_is_accurate(G: float) -> None:
    """Against 400 digits; 1e-12 since G comes in through its logarithm, below 700 = 1e-13/ε·½."""
    assert agd_step([G], rows=7, columns=7) == pytest.approx(exact_agd_step(Decimal(G)), rel=1e-12)
    value = agd_step([G, 0, 2 * G, G], rows=[4, 1, 1, 9], columns=[1, 5, 1, 4])
    assert value == pytest.approx(exact_agd_step(Decimal(G) * (2 + 2 + Decimal("1.5")) / 4), rel=1e-12)


@settings(max_examples=50)
@given(log10_G=st.floats(-6, 6))
def test_agd_step_minimises_its_model(log10_G: float) -> None:
    G = 10**log10_G
    eta = float(agd_step([G], rows=1, columns=1))
    # The minimum's own equation, e^η (e^η − 1) = G.
    assert math.exp(eta) * math.expm1(eta) == pytest.approx(G, rel=1e-12)

    def model(step: float) -> float:
        return -step * G + float(10 ** log10_agd_curvature_bound(step))

    assert all(model(eta) <= model(eta * factor) for factor in (0.5, 0.9, 1.1, 2.0))


def test_agd_curvature() -> None:
    eta = np.array([[0.0, 1e-200, 1e-12], [0.1, 2.0, 1e5]])
    value = log10_agd_curvature_bound(eta)
    assert value[0, 0] == -np.inf
    half = math.log10(0.5)
    expected = [2 * math.log10(1e-200) + half, -24 + half, half + 2 * math.log10(math.expm1(0.1))]
    np.testing.assert_allclose(value.ravel()[1:4], expected, rtol=1e-12)
    np.testing.assert_allclose(
        value[1, 1:], [half + 2 * math.log10(math.expm1(2)), 2e5 / math.log(10) + half]
    )


def test_agd_curvature_bounds_the_spectral_product() -> None:
    """½‖Δf‖² for ‖x‖∏β‖W‖ = 1 and every ρ_k = η/L, which approaches it as L grows."""
    for eta in (1e-6, 0.3, 2.0):
        curvature = float(log10_agd_curvature_bound(eta))
        for L in (1, 10, 10_000):
            moved = log10_spectral_product_bound(np.full(L, eta / L), spectral_norms=1, betas=1, input_norm=1)
            assert 2 * moved + math.log10(0.5) <= curvature + 1e-11
        assert 2 * moved + math.log10(0.5) == pytest.approx(curvature, abs=1e-3)


def test_agd_step_without_gradient_is_no_step() -> None:
    assert agd_step([0.0, 0.0], rows=3, columns=2) == 0
    assert np.isfinite(agd_step([1.7e308, 1.7e308], rows=1e300, columns=1))


def test_agd_step_refuses_what_it_cannot_average() -> None:
    for change, message in [
        ({"gradient_norms": []}, "gradient_norms needs at least one layer"),
        ({"gradient_norms": [np.inf, 1]}, "finite"),
        ({"rows": 0}, "rows must be at least 1"),
        ({"columns": np.inf}, "columns must be"),
    ]:
        with pytest.raises(ValueError, match=message):
            agd_step(**{"gradient_norms": [1.0, 1.0], "rows": 1, "columns": 1, **change})

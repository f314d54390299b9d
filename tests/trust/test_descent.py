"""Lemma 1 on losses with exact gradients, and the step limits' closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trust import (
    curvature_step_limit,
    deep_relative_trust,
    lemma1_bound,
    lemma2_step_limit,
    log10_deep_relative_trust,
    log10_lemma2_step_limit,
    log10_theorem1_constant,
    predicted_step_limit,
    secant_step_limit,
)


def test_lemma1_closed_form() -> None:
    arguments = {"gradient_norms": [2.0, 3.0], "perturbation_norms": [0.5, 1.0], "cosines": [1.0, -0.5]}
    # −[0.5·(2·1 − 1) + 1·(3·(−0.5) − 0.3)] = −[0.5 − 1.8] = 1.3
    assert lemma1_bound(**arguments, worst_gradient_changes=[1.0, 0.3]) == pytest.approx(1.3, rel=1e-14)
    assert lemma1_bound(**arguments, worst_breakdowns=[0.5, 0.1]) == pytest.approx(1.3, rel=1e-14)


def test_lemma1_is_nearly_attained_by_a_short_step_uphill() -> None:
    """𝓛 = w⁴/4 from w = 1 to 1 + d: the bound is d·(1 + d)³, just above the truth."""
    d = 1e-3
    bound = lemma1_bound(
        gradient_norms=[1.0],
        perturbation_norms=[d],
        cosines=[-1.0],
        worst_gradient_changes=[(1 + d) ** 3 - 1],
    )
    truth = ((1 + d) ** 4 - 1) / 4
    assert truth < bound < 1.01 * truth


@settings(max_examples=200)
@given(seed=st.integers(0, 2**32 - 1), layers=st.integers(1, 5), scale=st.sampled_from([1e-3, 1.0, 100.0]))
def test_lemma1_holds_for_quadratics(seed: int, layers: int, scale: float) -> None:
    """𝓛 = ½wᵀAw in blocks of 3: the gradient changes by tAΔ, so its worst change is known, at t = 1."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((3 * layers, 3 * layers))
    A = A + A.T
    w = rng.standard_normal(3 * layers)
    step = -A @ w if rng.random() < 0.5 else rng.standard_normal(3 * layers)
    step = scale * step * np.repeat(rng.random(layers) < 0.8, 3)
    g, changes = (A @ w).reshape(layers, 3), (A @ step).reshape(layers, 3)
    d = step.reshape(layers, 3)
    norms = np.linalg.norm(g, axis=1), np.linalg.norm(d, axis=1)
    with np.errstate(invalid="ignore"):
        cosines = -np.sum(g * d, axis=1) / (norms[0] * norms[1])  # NaN for a layer that stays
    arguments = {"gradient_norms": norms[0], "perturbation_norms": norms[1], "cosines": cosines}
    worst = np.linalg.norm(changes, axis=1)
    truth = g.ravel() @ step + step @ A @ step / 2
    bound = lemma1_bound(**arguments, worst_gradient_changes=worst)
    # Both are sums of at most 15² products: 225 ε of the sum of magnitudes.
    slack = 225 * np.finfo(float).eps * float(np.sum(norms[1] * (norms[0] + worst)) + abs(truth))
    assert truth <= bound + slack
    assert lemma1_bound(**arguments, worst_breakdowns=worst / norms[0]) == pytest.approx(
        bound, rel=1e-9, abs=10 * slack
    )
    # A check of the check: without the gradient's change, upward curvature breaks it.
    if step @ A @ step > 10 * slack:
        assert truth > lemma1_bound(**arguments, worst_gradient_changes=np.zeros(layers))


def test_lemma1_zero_gradients_and_zero_steps() -> None:
    zero_gradient = {"gradient_norms": [0.0, 1.0], "perturbation_norms": [1.0, 1.0], "cosines": [np.nan, 1.0]}
    assert lemma1_bound(**zero_gradient, worst_gradient_changes=[0.25, 0.5]) == pytest.approx(-0.25)
    assert lemma1_bound(**zero_gradient, worst_breakdowns=[np.inf, 0.5]) == np.inf
    assert lemma1_bound(**zero_gradient, worst_breakdowns=[0.0, 0.5]) == pytest.approx(-0.5)
    still = {"gradient_norms": [1.0, 1.0], "perturbation_norms": [0.0, 1.0], "cosines": [np.nan, 1.0]}
    assert lemma1_bound(**still, worst_gradient_changes=[np.inf, 0.5]) == pytest.approx(-0.5)
    assert lemma1_bound(**still, worst_breakdowns=[np.inf, 0.5]) == pytest.approx(-0.5)


def test_lemma1_axes() -> None:
    bound = lemma1_bound(
        gradient_norms=[1.0, 2.0],
        perturbation_norms=np.array([[1.0, 1.0], [0.1, 0.1]]),
        cosines=1.0,
        worst_gradient_changes=0.5,
    )
    np.testing.assert_allclose(bound, [-2, -0.2])
    bound = lemma1_bound(
        gradient_norms=[[1.0], [2.0]], perturbation_norms=1.0, cosines=1.0, worst_gradient_changes=0.0, axis=0
    )
    np.testing.assert_allclose(bound, [-3])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"worst_breakdowns": [0.1]}, "exactly one"),
        ({"worst_gradient_changes": None}, "exactly one"),
        ({"worst_gradient_changes": [np.nan]}, "worst_gradient_changes has 1 NaN"),
        ({"worst_gradient_changes": [-1.0]}, "worst_gradient_changes must not be negative"),
        ({"gradient_norms": [np.inf]}, "finite"),
        ({"cosines": [np.nan]}, "cosines has 1 NaN"),
        ({"cosines": [1.5]}, "between -1 and 1, got 1.5"),
        ({"perturbation_norms": [-1.0]}, "perturbation_norms must not be negative"),
    ],
)
def test_lemma1_bad_input(change: dict[str, object], message: str) -> None:
    good: dict[str, object] = {
        "gradient_norms": [1.0],
        "perturbation_norms": [1.0],
        "cosines": [1.0],
        "worst_gradient_changes": [0.1],
    }
    with pytest.raises(ValueError, match=message):
        lemma1_bound(**{**good, **change})  # type: ignore[arg-type]


# --- Lemma 2 ---


def test_lemma2_closed_forms() -> None:
    assert lemma2_step_limit(depth=1) == pytest.approx(1, rel=1e-15)
    assert lemma2_step_limit(depth=2) == pytest.approx(np.sqrt(2) - 1, rel=1e-15)
    assert lemma2_step_limit(depth=2, cos_theta=0.21) == pytest.approx(0.1, rel=1e-14)
    assert lemma2_step_limit(depth=2, cos_theta=0.42, log10_constant=np.log10(2)) == pytest.approx(
        0.1, rel=1e-13
    )
    np.testing.assert_allclose(
        lemma2_step_limit(depth=[1, 2], cos_theta=[[1.0], [0.0], [-1.0]]),
        [[1, np.sqrt(2) - 1], [0, 0], [0, 0]],
    )


def test_lemma2_at_the_ends() -> None:
    assert lemma2_step_limit(depth=3, log10_constant=np.inf) == 0
    assert log10_lemma2_step_limit(depth=3, log10_constant=np.inf) == -np.inf
    assert log10_lemma2_step_limit(depth=3, cos_theta=0) == -np.inf
    assert log10_lemma2_step_limit(depth=3, cos_theta=-0.3, log10_constant=-np.inf) == -np.inf
    assert lemma2_step_limit(depth=3, log10_constant=-np.inf) == np.inf
    assert log10_lemma2_step_limit(depth=3, log10_constant=-np.inf) == np.inf
    # A tiny constant: (10^300)^(1/3) = 10^100
    assert log10_lemma2_step_limit(depth=3, log10_constant=-300) == pytest.approx(100)
    assert lemma2_step_limit(depth=1, log10_constant=-400) == np.inf
    # Rounding may take a measured cosine past 1.
    assert lemma2_step_limit(depth=2, cos_theta=1 + 1e-7) == lemma2_step_limit(depth=2)


def test_lemma2_with_an_enormous_constant() -> None:
    constant = log10_theorem1_constant(condition_number=1e6, alpha=1, beta=1, depth=1000)
    assert constant == pytest.approx(12_000)
    assert lemma2_step_limit(depth=1000, log10_constant=constant) == 0
    limit = log10_lemma2_step_limit(depth=1000, log10_constant=constant)
    assert limit == pytest.approx(-12_003, rel=1e-14)
    # Where e^y is below the smallest float64, but not by so much.
    assert log10_lemma2_step_limit(depth=100, log10_constant=400) == pytest.approx(-402, rel=1e-14)


@settings(max_examples=300)
@given(
    depth=st.integers(1, 1000),
    cos_theta=st.floats(1e-3, 1),
    log10_constant=st.one_of(st.floats(-3, 250), st.floats(-3, 30)),
)
def test_lemma2_is_the_root_of_lemma1s_bracket(depth: int, cos_theta: float, log10_constant: float) -> None:
    """C·D(η) = cos θ at the limit, and log10 agrees with the plain form on both sides of its switch."""
    common = {"depth": depth, "cos_theta": cos_theta, "log10_constant": log10_constant}
    limit = float(lemma2_step_limit(**common))
    breakdown = log10_constant + float(log10_deep_relative_trust(np.full(depth, limit)))
    # log1p and expm1 of a thousandfold sum: some 1000 ε; the constant's own log10 carries 250 ε·ln 10.
    assert breakdown == pytest.approx(np.log10(cos_theta), abs=1e-11)
    assert log10_lemma2_step_limit(**common) == pytest.approx(np.log10(limit), abs=1e-12)
    smaller = np.full(depth, 0.9 * limit)
    gone = 10.0**log10_constant * float(deep_relative_trust(smaller))
    descent = lemma1_bound(
        gradient_norms=1.0, perturbation_norms=[1.0], cosines=cos_theta, worst_gradient_changes=gone
    )
    assert descent < 0


@pytest.mark.parametrize("function", [lemma2_step_limit, log10_lemma2_step_limit])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 0}, "at least 1"),
        ({"depth": np.nan}, "NaN"),
        ({"cos_theta": np.nan}, "cos_theta has 1 NaN"),
        ({"cos_theta": 1.1}, "between -1 and 1"),
        ({"log10_constant": np.nan}, "log10_constant has 1 NaN"),
    ],
)
def test_lemma2_bad_input(function, change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function(**{"depth": 2, **change})


# --- curvature ---


def test_curvature_closed_forms() -> None:
    # 𝓛(η) = 1 − 3η + 2η²: back at 1 for η = 1.5; its slope is −3, its curvature 4.
    assert curvature_step_limit(slope=-3, curvature=4) == pytest.approx(1.5, rel=1e-15)
    np.testing.assert_array_equal(
        curvature_step_limit(
            slope=[-1.0, -1.0, -1.0, 0.0, 1.0, 1.0], curvature=[2.0, 0.0, -5.0, 1.0, 1.0, -1.0]
        ),
        [1, np.inf, np.inf, 0, 0, 0],
    )
    assert curvature_step_limit(slope=-1e308, curvature=1e308) == 2
    assert curvature_step_limit(slope=-1.0, curvature=5e-324) == np.inf
    assert curvature_step_limit(slope=[-1.0, -2.0], curvature=1.0).shape == (2,)


@settings(max_examples=100)
@given(slope=st.floats(-1e6, -1e-6), curvature=st.floats(1e-6, 1e6))
def test_curvature_limit_of_a_quadratic_is_where_its_loss_returns(slope: float, curvature: float) -> None:
    eta = float(curvature_step_limit(slope=slope, curvature=curvature))
    fall, rise = slope * eta, curvature * eta**2 / 2
    assert fall + rise == pytest.approx(0, abs=1e-14 * rise)


@pytest.mark.parametrize("name", ["slope", "curvature"])
def test_curvature_refuses_nan(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} has 1 NaN"):
        curvature_step_limit(**{"slope": -1.0, "curvature": 1.0, name: np.nan})


# --- predicted from one further gradient ---


def tangent_and_power(eta: float, power: float, limit: float) -> tuple[float, float]:
    """−η + η (η/limit)^power and its slope: back at 0 at the limit."""
    return -eta + eta * (eta / limit) ** power, -1 + (power + 1) * (eta / limit) ** power


@pytest.mark.parametrize("share", [1e-3, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("power", [0.3, 1.0, 3.0])
def test_prediction_closed_forms(share: float, power: float) -> None:
    limit = 0.02
    eta = share * limit
    rise, slope = tangent_and_power(eta, power, limit)
    found = float(predicted_step_limit(slope=-1.0, eta=eta, rise=rise, slope_there=slope))
    secant = 2 * eta / (slope + 1)
    # the power law is exact but for rounding: some 1e-15 beside q = share^power, and its logarithm over the power
    rounding = 1e-14 / share**power * (1 - math.log(share)) / power
    assert found == pytest.approx(min(limit, secant), rel=rounding)
    if power == 1:
        assert found == pytest.approx(limit, rel=1e-9)  # of a quadratic both are exact


@pytest.mark.parametrize("power", [0.3, 1.0, 3.0])
def test_prediction_from_beyond_the_limit(power: float) -> None:
    rise, slope = tangent_and_power(0.03, power, 0.02)
    found = predicted_step_limit(slope=-1.0, eta=0.03, rise=rise, slope_there=slope)
    assert float(found) == pytest.approx(
        0.02, rel=1e-12
    )  # the secant, which knows nothing there, is not used


def test_prediction_where_there_is_none() -> None:
    concave = {"eta": 0.1, "rise": -0.2, "slope_there": -3.0}  # steeper and steeper
    assert predicted_step_limit(slope=-1.0, **concave) == np.inf
    assert np.asarray(predicted_step_limit(slope=[0.0, 1.0], **concave)).tolist() == [0.0, 0.0]
    assert predicted_step_limit(slope=-1.0, eta=0.1, rise=np.inf, slope_there=np.inf) == np.inf  # overflow
    # below the tangent but bending up: the secant alone tells
    assert predicted_step_limit(slope=-1.0, eta=0.1, rise=-0.11, slope_there=-0.5) == pytest.approx(0.4)


@settings(max_examples=100)
@given(
    slope=st.floats(-1e3, -1e-3),
    eta=st.floats(1e-4, 1.0),
    rise=st.floats(-1e3, 1e3),
    slope_there=st.floats(-1e3, 1e3),
)
def test_prediction_knows_the_side_and_the_units(
    slope: float, eta: float, rise: float, slope_there: float
) -> None:
    found = float(predicted_step_limit(slope=slope, eta=eta, rise=rise, slope_there=slope_there))
    assert found >= 0
    if rise > 0:  # it was back before η, if the power law can tell
        assert found <= eta or found == np.inf
    # powers of two change nothing but the unit of the loss, and of η
    doubled = predicted_step_limit(slope=2 * slope, eta=eta, rise=2 * rise, slope_there=2 * slope_there)
    assert float(doubled) == found
    halved = predicted_step_limit(slope=2 * slope, eta=eta / 2, rise=rise, slope_there=2 * slope_there)
    assert float(halved) == found / 2


@pytest.mark.parametrize("name", ["slope", "eta", "rise", "slope_there"])
def test_prediction_refuses_what_is_no_number(name: str) -> None:
    good = {"slope": -1.0, "eta": 0.1, "rise": -0.05, "slope_there": 0.0}
    with pytest.raises(ValueError, match=f"{name} has 1 NaN"):
        predicted_step_limit(**(good | {name: np.nan}))
    with pytest.raises(ValueError, match="eta must be positive"):
        predicted_step_limit(**(good | {"eta": 0.0}))


@pytest.mark.parametrize("eta", [1e-3, 0.2, 7.0])
def test_secant_of_a_quadratic_is_its_limit(eta: float) -> None:
    """𝓛' = −3 + 10 η is back at 𝓛(0) at 0.6, whatever η is looked at."""
    assert secant_step_limit(slope=-3.0, eta=eta, slope_there=-3 + 10 * eta) == pytest.approx(0.6, rel=1e-11)


def test_secant_without_growth_or_descent() -> None:
    found = secant_step_limit(slope=[-1.0, -1.0, 0.0, 1.0], eta=0.1, slope_there=[-1.0, -2.0, 5.0, 5.0])
    assert np.asarray(found).tolist() == [np.inf, np.inf, 0.0, 0.0]
    with pytest.raises(ValueError, match="eta must be positive"):
        secant_step_limit(slope=-1.0, eta=0.0, slope_there=1.0)

"""Theorem 1: closed forms, attained cases, infinities and bad input."""

from __future__ import annotations

import numpy as np
import pytest

from trust import (
    log10_function_bound,
    log10_gated_jacobian_bound,
    log10_jacobian_bound,
    log10_layerwise_function_bound,
    log10_theorem1_constant,
)


def test_constant_closed_form() -> None:
    # (2·3²/0.5)³ = 46656
    value = log10_theorem1_constant(condition_number=3, alpha=0.5, beta=2, depth=3)
    assert value == pytest.approx(np.log10(46656), rel=1e-14)


def test_constant_broadcasts() -> None:
    value = log10_theorem1_constant(
        condition_number=np.array([[1.0], [10.0]]), alpha=1, beta=1, depth=[0, 1, 5]
    )
    np.testing.assert_allclose(value, [[0, 0, 0], [0, 2, 10]], atol=1e-14)


@pytest.mark.parametrize(("kappa", "alpha"), [(np.inf, 1.0), (2.0, 0.0), (np.inf, 0.0)])
def test_constant_infinite_but_not_for_no_layers(kappa: float, alpha: float) -> None:
    assert log10_theorem1_constant(condition_number=kappa, alpha=alpha, beta=1, depth=4) == np.inf
    assert log10_theorem1_constant(condition_number=kappa, alpha=alpha, beta=1, depth=0) == 0


def test_function_bound_closed_form() -> None:
    # C = (1·2²/0.5)² = 64; D = 1.1·1.2 − 1 = 0.32
    value = log10_function_bound([0.1, 0.2], condition_number=2, alpha=0.5, beta=1)
    assert value == pytest.approx(np.log10(64 * 0.32), rel=1e-13)


def test_layerwise_bound_closed_form() -> None:
    # ∏ β‖W‖/(ασ) = (2·4/(1·2))·(1·3/(0.5·1)) = 4·6 = 24; (1 + 2·0.1)(1 + 5·0.2) − 1 = 1.4
    value = log10_layerwise_function_bound(
        [0.1, 0.2],
        spectral_norms=[4, 3],
        smallest_singular_values=[2, 1],
        perturbation_condition_numbers=[2, 5],
        alphas=[1, 0.5],
        betas=[2, 1],
    )
    assert value == pytest.approx(np.log10(24 * 1.4), rel=1e-13)


def test_gated_bound_closed_form_and_reduction() -> None:
    # C = 8; 1.1·1.5·1.2·1 − 1 = 0.98
    arguments = {"condition_number": 2, "alpha": 0.5, "beta": 1}
    value = log10_gated_jacobian_bound([0.1, 0.2], gate_changes=[0.5, 0.0], **arguments)
    assert value == pytest.approx(np.log10(64 * 0.98), rel=1e-13)
    still = log10_gated_jacobian_bound([0.1, 0.2], gate_changes=[0.0, 0.0], **arguments)
    assert still == pytest.approx(log10_jacobian_bound([0.1, 0.2], **arguments), abs=1e-15)


def test_leading_axes_broadcast() -> None:
    r = np.array([[[0.1, 0.2]], [[0.0, 0.0]], [[1.0, 1e-9]]])  # (3, 1, 2)
    kappa = np.array([1.0, 2.0, np.inf])
    values = log10_function_bound(r, condition_number=kappa, alpha=[1.0, 0.5, 1.0], beta=1)
    assert values.shape == (3, 3)
    for i in range(3):
        for j, alpha in enumerate([1.0, 0.5, 1.0]):
            assert values[i, j] == log10_function_bound(
                r[i, 0], condition_number=kappa[j], alpha=alpha, beta=1
            )


@pytest.mark.parametrize("depth", [1, 2, 7])
@pytest.mark.parametrize("step", [1e-9, 0.3, 5.0])
def test_identity_network_attains_the_bound(depth: int, step: float) -> None:
    """W = 3I, ΔW = step·W, φ = identity: κ = 1 and the output changes by (1 + step)^L − 1 exactly."""
    change = np.expm1(depth * np.log1p(step))
    bound = log10_function_bound(np.full(depth, step), condition_number=1, alpha=1, beta=1)
    assert bound == pytest.approx(np.log10(change), abs=1e-13)


def test_square_of_the_condition_number_is_attained() -> None:
    """0.9·bound < measured ≤ bound for one wide layer, so that κ² cannot be replaced by κ^1.9.

    W = diag(1, …, 1, 1/κ), ΔW = ε·diag(1, …, 1, κ), x the last axis: the change is κ²ε, and r → ε for N ≫ κ².
    """
    N, kappa, epsilon = 400, 4.0, 1e-3
    W, dW = np.ones(N), np.full(N, epsilon)
    W[-1], dW[-1] = 1 / kappa, kappa * epsilon
    measured = dW[-1] / W[-1]
    r = np.linalg.norm(dW) / np.linalg.norm(W)
    bound = 10 ** log10_function_bound([r], condition_number=kappa, alpha=1, beta=1)
    assert 0.9 * bound < measured <= bound
    assert measured > bound / kappa**0.1
    sharper = 10 ** log10_layerwise_function_bound(
        [r],
        spectral_norms=[1.0],
        smallest_singular_values=[1 / kappa],
        perturbation_condition_numbers=[kappa],
        alphas=[1],
        betas=[1],
    )
    assert 0.9 * sharper < measured <= sharper


def test_transmission_ratio_is_attained() -> None:
    """Leaky ReLU, W = [1], x = −1: f = −a, and W̃ = −t gives f̃ = t: the change (t + a)/a tends to r/a."""
    a, t = 0.1, 1e4
    measured = (t + a) / a
    bound = 10 ** log10_function_bound([1 + t], condition_number=1, alpha=a, beta=1)
    assert 0.99 * bound < measured <= bound


def test_a_thousand_badly_conditioned_layers_stay_finite() -> None:
    L, kappa = 1000, 1e6
    r = np.full(L, 1e-3)
    common = {"condition_number": kappa, "alpha": 0.01, "beta": 1.0}
    expected = L * (12 + 2) + np.log10(np.expm1(L * np.log1p(1e-3)))
    for value in (
        log10_function_bound(r, **common),
        log10_jacobian_bound(r, **common),
        log10_gated_jacobian_bound(r, gate_changes=np.zeros(L), **common),
    ):
        assert value == pytest.approx(expected, rel=1e-12)
    value = log10_layerwise_function_bound(
        np.full(L, 1e300),
        spectral_norms=np.full(L, 1e6),
        smallest_singular_values=np.ones(L),
        perturbation_condition_numbers=np.full(L, 1e15),
        alphas=np.full(L, 0.01),
        betas=np.ones(L),
    )
    assert value == pytest.approx(L * (6 + 2 + 315), rel=1e-12)
    assert np.isfinite(log10_function_bound(np.full(L, 1e-320), **common))


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_no_perturbation_means_no_change_whatever_the_constant(alpha: float) -> None:
    still = np.zeros(3)
    common = {"condition_number": np.inf, "alpha": alpha, "beta": 1.0}
    assert log10_function_bound(still, **common) == -np.inf
    assert log10_jacobian_bound(still, **common) == -np.inf
    assert log10_jacobian_bound([], **common) == -np.inf
    assert log10_gated_jacobian_bound(still, gate_changes=still, **common) == -np.inf
    assert (
        log10_layerwise_function_bound(
            still,
            spectral_norms=[0, 1, 1],
            smallest_singular_values=[0, 0, 1],
            perturbation_condition_numbers=[np.inf, np.nan, 1],
            alphas=[alpha] * 3,
            betas=[1] * 3,
        )
        == -np.inf
    )


def test_infinite_where_nothing_is_bounded() -> None:
    common = {"condition_number": 2.0, "alpha": 1.0, "beta": 1.0}
    assert log10_function_bound([0.1, np.inf], **common) == np.inf
    assert log10_function_bound([0.1], **{**common, "alpha": 0.0}) == np.inf
    assert log10_gated_jacobian_bound([0.0], gate_changes=[np.inf], **common) == np.inf
    assert log10_gated_jacobian_bound([0.0], gate_changes=[0.5], **common) == pytest.approx(np.log10(2))
    arguments = {
        "spectral_norms": [1, 1],
        "smallest_singular_values": [0.5, 0.5],
        "perturbation_condition_numbers": [np.nan, 2],
        "alphas": [1, 1],
        "betas": [1, 1],
    }
    # A layer that stays adds nothing to the bracket, but its conditioning stays in the constant.
    assert log10_layerwise_function_bound([0, 0.1], **arguments) == pytest.approx(np.log10(4 * 0.2))
    singular = {**arguments, "smallest_singular_values": [0, 0.5]}
    assert log10_layerwise_function_bound([0, 0.1], **singular) == np.inf
    rank_one = {**arguments, "perturbation_condition_numbers": [1, np.inf]}
    assert log10_layerwise_function_bound([0, 0.1], **rank_one) == np.inf


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"condition_number": 0.5}, "at least 1"),
        ({"condition_number": np.nan}, "NaN"),
        ({"alpha": -0.1}, "negative"),
        ({"alpha": 2.0}, "at least alpha"),
        ({"beta": 0.0, "alpha": 0.0}, "positive"),
        ({"beta": np.inf}, "finite"),
    ],
)
def test_bad_constants_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        log10_function_bound([0.1], **{"condition_number": 1.0, "alpha": 1.0, "beta": 1.0, **change})


@pytest.mark.parametrize("bad", [[0.1, np.nan], [-0.1], 0.1, "0.1"])
def test_bad_perturbations_are_refused(bad: object) -> None:
    with pytest.raises(ValueError, match=r"NaN|negative|last axis|real numbers"):
        log10_function_bound(bad, condition_number=1, alpha=1, beta=1)


def test_other_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="whole number"):
        log10_theorem1_constant(condition_number=1, alpha=1, beta=1, depth=1.5)
    with pytest.raises(ValueError, match="at most spectral_norms"):
        log10_layerwise_function_bound(
            [0.1],
            spectral_norms=[1],
            smallest_singular_values=[2],
            perturbation_condition_numbers=[1],
            alphas=[1],
            betas=[1],
        )
    with pytest.raises(ValueError, match="NaN"):
        log10_layerwise_function_bound(
            [0.1],
            spectral_norms=[1],
            smallest_singular_values=[1],
            perturbation_condition_numbers=[np.nan],
            alphas=[1],
            betas=[1],
        )
    with pytest.raises(ValueError, match="layers differ"):
        log10_gated_jacobian_bound([0.1], gate_changes=[0.1, 0.2], condition_number=1, alpha=1, beta=1)

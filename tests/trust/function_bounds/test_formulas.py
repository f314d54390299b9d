"""Bounds on the output's change: plain loops, exact fractions, extreme sizes, attained cases and infinities."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trust import activation
from trust.function_bounds import (
    agd_step,
    log10_input_sensitivity_bound,
    log10_linearisation_remainder_bound,
    log10_neyshabur_bound,
    log10_spectral_product_bound,
    log10_telescoped_bound,
)

Array = np.ndarray
Number = float | Fraction

seeds = st.integers(0, 2**32 - 1)


def product(factors: list[Number]) -> Number:
    total: Number = Fraction(1)
    for factor in factors:
        total = total * factor
    return total


def sensitivity(change: Number, w: list[Number], beta: list[Number]) -> Number:
    return product([*w, *beta]) * change


def spectral_product(d: list[Number], w: list[Number], beta: list[Number], x: Number) -> Number:
    grown = [a + b for a, b in zip(w, d, strict=True)]
    return x * product(beta) * (product(grown) - product(w))


def neyshabur_over_e(d: list[Number], w: list[Number], x: Number) -> Number:
    total: Number = Fraction(0)
    for at, moved in enumerate(d):
        total = total + moved * product([v for k, v in enumerate(w) if k != at])
    return x * total


def telescoped(response: list[Number], w: list[Number], beta: list[Number], shift: list[Number]) -> Number:
    total: Number = Fraction(0)
    for at in range(len(w)):
        after = product([beta[k] * w[k] for k in range(at + 1, len(w))])
        total = total + after * beta[at] * (response[at] + shift[at])
    return total


def remainder(d: list[Number], w: list[Number], x: Number) -> Number:
    grown = product([a + b for a, b in zip(w, d, strict=True)])
    return x * (grown - product(w) - neyshabur_over_e(d, w, Fraction(1)))


def exact(values: Array | list[float]) -> list[Number]:
    return [Fraction(float(v)) for v in values]


def log10_of(value: Number) -> float:
    """log10 of a fraction of any size, to some 1e-16 of the logarithms of its two terms."""
    if value == 0:
        return -math.inf
    value = Fraction(value)
    # Both terms are near 2^k and their logarithms cancel: so first the power of two between them.
    shift = value.numerator.bit_length() - value.denominator.bit_length()
    rest = value * Fraction(2) ** -shift
    return math.log10(float(rest)) + shift * math.log10(2)


# What the code computes in logarithms errs by a few ε times the largest logarithm, below 700 where linear
# numbers are representable, times the layers: 8·700·2.2e-16 = 1.2e-12 relative, well below 1e-10.
RELATIVE = 1e-10


def assert_same(log10_value: Array, expected: Number) -> None:
    assert 10 ** float(log10_value) == pytest.approx(float(expected), rel=RELATIVE, abs=0)


def random_norms(rng: np.random.Generator, shape: tuple[int, ...], *, zeros: bool = True) -> Array:
    """Norms between 1e-14 and 1e6, or about 1; some of them 0."""
    values = 10 ** (rng.uniform(-14, 6, shape) if rng.random() < 0.5 else rng.uniform(-1, 1, shape))
    return np.where(rng.random(shape) < 0.1, 0.0, values) if zeros else values


@settings(max_examples=150)
@given(seed=seeds)
def test_bounds_are_their_formulas_in_exact_arithmetic(seed: int) -> None:
    rng = np.random.default_rng(seed)
    L = int(rng.integers(0, 8))
    d, w, beta, shift = (random_norms(rng, (L,)) for _ in range(4))
    x = float(random_norms(rng, ()))
    D, W, B, S, X = exact(d), exact(w), exact(beta), exact(shift), Fraction(x)
    assert_same(log10_input_sensitivity_bound(x, spectral_norms=w, betas=beta), sensitivity(X, W, B))
    value = log10_spectral_product_bound(d, spectral_norms=w, betas=beta, input_norm=x)
    assert_same(value, spectral_product(D, W, B, X))
    value = log10_telescoped_bound(d, perturbed_spectral_norms=w, betas=beta, bias_changes=shift)
    assert_same(value, telescoped(D, W, B, S))
    value = log10_linearisation_remainder_bound(d, spectral_norms=w, input_norm=x)
    assert_same(value, remainder(D, W, X))
    small = np.where(w > 0, w * rng.uniform(0, 1, L) / max(L, 1), 0.0)
    value = log10_neyshabur_bound(small, spectral_norms=w, input_norm=x)
    assert_same(value, math.e * float(neyshabur_over_e(exact(small), W, X)))


def test_leading_axes_broadcast() -> None:
    rng = np.random.default_rng(0)
    d = rng.uniform(0, 0.1, (3, 1, 4))
    w = rng.uniform(0.5, 2, (2, 4))
    beta = rng.uniform(0.5, 2, 4)
    x = np.array([1.0, 5.0])
    shift = rng.uniform(0, 1, (3, 2, 4))
    values = {
        "spectral": log10_spectral_product_bound(d, spectral_norms=w, betas=beta, input_norm=x),
        "neyshabur": log10_neyshabur_bound(d, spectral_norms=w, input_norm=x),
        "telescoped": log10_telescoped_bound(d, perturbed_spectral_norms=w, betas=2, bias_changes=shift),
        "remainder": log10_linearisation_remainder_bound(d, spectral_norms=w, input_norm=x),
        "input": log10_input_sensitivity_bound(x + np.zeros((3, 1)), spectral_norms=w, betas=beta),
        "agd": agd_step(d, rows=w + 1, columns=2),
    }
    for value in values.values():
        assert value.shape == (3, 2)
    two = np.full(4, 2.0)
    for i in range(3):
        for j in range(2):
            D, W, S = list(d[i, 0]), list(w[j]), list(shift[i, j])
            assert_same(values["spectral"][i, j], spectral_product(D, W, list(beta), x[j]))
            assert_same(values["neyshabur"][i, j], math.e * neyshabur_over_e(D, W, x[j]))
            assert_same(values["telescoped"][i, j], telescoped(D, W, list(two), S))
            # The loop in floats cancels: only to some 1e-16 over the remainder's share of ~1e-3.
            assert 10 ** values["remainder"][i, j] == pytest.approx(remainder(D, W, x[j]), rel=1e-9)
            assert_same(values["input"][i, j], sensitivity(x[j], W, list(beta)))
            mean = sum(math.sqrt((W[k] + 1) / 2) * D[k] for k in range(4)) / 4
            assert values["agd"][i, j] == pytest.approx(
                math.log((1 + math.sqrt(1 + 4 * mean)) / 2), rel=1e-12
            )


def test_a_common_number_stands_for_all_layers() -> None:
    value = log10_spectral_product_bound([0.1, 0.2], spectral_norms=2, betas=[3], input_norm=1)
    assert_same(value, 9 * (2.1 * 2.2 - 4))


@pytest.mark.parametrize(
    ("rho", "norm"),
    # All but ρ = 1e-200 of 1e-200, which is below the smallest float64.
    [(rho, norm) for rho in (1e-12, 1e-200, 3.0) for norm in (1e200, 1e-200, 1.0) if rho * norm > 0],
)
def test_a_thousand_layers_of_any_size(rho: float, norm: float) -> None:
    """W = cI, ΔW = ρW: c^L [(1 + ρ)^L − 1] and its kin, whose logarithms are known without a difference."""
    L = 1000
    w, d = np.full(L, norm), np.full(L, rho * norm)
    rho_exact = Fraction(float(d[0])) / Fraction(norm)
    scale = L * math.log10(norm)
    # Logarithms of 1e200000, each term good to ε: 1e-10 of the number would be more than float64 can say.
    tolerance = {"rel": 1e-12, "abs": 1e-10}
    with localcontext() as context:
        context.prec = 700
        r = Decimal(rho_exact.numerator) / Decimal(rho_exact.denominator)
        bracket = (1 + r) ** L - 1
        rest = bracket - L * r
        log_bracket, log_rest = float(bracket.log10()), float(rest.log10())
    common = {"spectral_norms": w, "input_norm": 1e300}
    value = log10_spectral_product_bound(d, betas=1, **common)
    assert value == pytest.approx(300 + scale + log_bracket, **tolerance)
    value = log10_linearisation_remainder_bound(d, **common)
    assert value == pytest.approx(300 + scale + log_rest, **tolerance)
    # β = 1/c, so that every later layer keeps what the one before it passes on.
    value = log10_telescoped_bound(d, perturbed_spectral_norms=w, betas=1 / norm)
    assert value == pytest.approx(math.log10(L) + math.log10(rho), **tolerance)
    value = log10_input_sensitivity_bound(1e-300, spectral_norms=w, betas=1e5)
    assert value == pytest.approx(scale + 5 * L - 300, **tolerance)
    value = log10_neyshabur_bound(d, **common)
    expected = 300 + scale + math.log10(math.e * L) + math.log10(rho) if rho < 1 else math.inf
    assert value == pytest.approx(expected, **tolerance)


@settings(max_examples=40)
@given(seed=seeds)
def test_sizes_beyond_float64_are_exact(seed: int) -> None:
    """Norms from 1e-300 to 1e300 against exact fractions: the logarithm is good to 1e-12 of the sizes in it."""
    rng = np.random.default_rng(seed)
    L = int(rng.integers(1, 30))
    w, d = 10 ** rng.uniform(-300, 300, (2, L))
    d = np.where(rng.random(L) < 0.5, np.minimum(d, 1e-12 * w), d)
    x = float(10 ** rng.uniform(-300, 300))
    D, W, X = exact(d), exact(w), Fraction(x)
    for value, expected in [
        (
            log10_spectral_product_bound(d, spectral_norms=w, betas=1, input_norm=x),
            spectral_product(D, W, [Fraction(1)], X),
        ),
        (log10_linearisation_remainder_bound(d, spectral_norms=w, input_norm=x), remainder(D, W, X)),
        (
            log10_telescoped_bound(d, perturbed_spectral_norms=w, betas=x, bias_changes=d),
            telescoped(D, W, [X] * L, D),
        ),
    ]:
        # The sums run over logarithms up to 690 each, 2L + 1 of them.
        assert value == pytest.approx(log10_of(expected), rel=0, abs=61 * 690 * 1e-15)


def test_largest_and_smallest_floats() -> None:
    big, small = 1.7e308, 5e-324
    value = log10_spectral_product_bound([big], spectral_norms=[big], betas=1, input_norm=1)
    assert value == pytest.approx(math.log10(big))
    value = log10_spectral_product_bound([small, 0], spectral_norms=[big, big], betas=1, input_norm=1)
    assert value == pytest.approx(math.log10(small) + math.log10(big))
    assert log10_neyshabur_bound([small], spectral_norms=[big], input_norm=1) == pytest.approx(
        math.log10(math.e) + math.log10(small)
    )
    value = log10_telescoped_bound([big], perturbed_spectral_norms=[big], betas=1, bias_changes=[big])
    assert value == pytest.approx(math.log10(big) + math.log10(2))


@pytest.mark.parametrize("depth", [1, 2, 7])
@pytest.mark.parametrize("eta", [1e-9, 0.3, 5.0])
def test_scaled_identities_attain_the_bounds(depth: int, eta: float) -> None:
    """W = cI, ΔW = ηW, φ = identity: f̃ − f = c^L x [(1 + η)^L − 1], and so for the other bounds."""
    c, x = 3.0, 2.0
    w, d = np.full(depth, c), np.full(depth, eta * c)
    change = x * c**depth * math.expm1(depth * math.log1p(eta))
    assert_same(log10_spectral_product_bound(d, spectral_norms=w, betas=1, input_norm=x), change)
    assert_same(log10_input_sensitivity_bound(change, spectral_norms=w, betas=1), c**depth * change)
    response = eta * c ** np.arange(1, depth + 1) * x
    value = log10_telescoped_bound(response, perturbed_spectral_norms=w * (1 + eta), betas=1)
    assert_same(value, change)
    if depth > 1 and eta > 1e-3:
        left = change - x * c**depth * depth * eta  # f̃ − f less its linear part
        assert_same(log10_linearisation_remainder_bound(d, spectral_norms=w, input_norm=x), left)


def test_leaky_relu_of_slope_three_attains_its_beta() -> None:
    """On negative inputs the activation is 3x: every bound's β is taken."""
    phi = activation("leaky_relu:3").function
    f, f_after = phi(2 * phi(np.array(-1.0))), phi(-2.2 * -phi(1.1 * np.array(-1.0)))
    value = log10_spectral_product_bound([0.1, 0.2], spectral_norms=[1, 2], betas=3, input_norm=1)
    assert_same(value, abs(f_after - f))


def test_premise_of_neyshabur() -> None:
    one = {"spectral_norms": [1.0, 2.0], "input_norm": 1.0}
    assert_same(log10_neyshabur_bound([0.5, 1.0], **one), math.e * 2)
    assert log10_neyshabur_bound([0.51, 1.0], **one) == np.inf
    assert log10_neyshabur_bound([0.0, 0.0], **one) == -np.inf
    # ρ = 1/L as rounded: within the premise, whatever the scale.
    for scale in np.geomspace(1e-3, 1e3, 50):
        assert log10_neyshabur_bound([scale / 49] * 49, spectral_norms=scale, input_norm=1.0) < np.inf
    zero = {"spectral_norms": [0.0, 2.0], "input_norm": 1.0}
    assert log10_neyshabur_bound([0.0, 1.0], **zero) == -np.inf  # f and f̃ are both 0
    assert log10_neyshabur_bound([1e-300, 0.0], **zero) == np.inf
    # Without the premise the formula is no bound: e·Σρ against (1 + ρ)^L − 1.
    assert math.e * 5 * 10 < 11**5 - 1


def test_a_layer_of_zeros() -> None:
    common = {"spectral_norms": [0.0, 2.0], "input_norm": 3.0}
    assert_same(log10_spectral_product_bound([0.5, 0.0], betas=1, **common), 3.0)
    assert log10_spectral_product_bound([0.0, 1.0], betas=1, **common) == -np.inf
    assert_same(log10_linearisation_remainder_bound([0.5, 1.0], **common), 1.5)
    assert log10_input_sensitivity_bound(1.0, spectral_norms=[0.0, 2.0], betas=1) == -np.inf
    value = log10_telescoped_bound([0.5, 0.25], perturbed_spectral_norms=[1, 0], betas=1)
    assert_same(value, 0.25)
    assert_same(log10_spectral_product_bound([0.5], spectral_norms=[1], betas=[0], input_norm=1), 0.0)


def test_nothing_perturbed_is_no_change_whatever_the_constant() -> None:
    big = {"spectral_norms": [np.inf, 0.0, 1.0], "input_norm": np.inf}
    for still in (np.zeros(3), np.zeros((2, 3))):
        assert np.all(np.isneginf(log10_spectral_product_bound(still, betas=np.inf, **big)))
        assert np.all(np.isneginf(log10_neyshabur_bound(still, **big)))
        assert np.all(np.isneginf(log10_linearisation_remainder_bound(still, **big)))
        assert np.all(np.isneginf(log10_telescoped_bound(still, perturbed_spectral_norms=np.inf, betas=1)))
    assert log10_input_sensitivity_bound(0.0, spectral_norms=[np.inf], betas=np.inf) == -np.inf
    assert log10_linearisation_remainder_bound([0, 5.0, 0], **big) == -np.inf  # linear in one layer
    assert log10_spectral_product_bound([], spectral_norms=[], betas=1, input_norm=1) == -np.inf
    assert log10_neyshabur_bound([], spectral_norms=1, input_norm=1) == -np.inf
    assert log10_linearisation_remainder_bound([], spectral_norms=[], input_norm=1) == -np.inf
    assert log10_telescoped_bound([], perturbed_spectral_norms=[], betas=1) == -np.inf
    assert log10_input_sensitivity_bound(10.0, spectral_norms=[], betas=1) == 1  # f(x) = x


def test_infinite_where_nothing_is_claimed() -> None:
    moved, inf = [0.1, 0.1], np.inf
    for w, d, x in [
        ([inf, 1], moved, 1),
        ([0, 1], [0.1, inf], 1),
        ([1, 1], moved, inf),
        ([inf, 0], moved, 0),
    ]:
        assert log10_spectral_product_bound(d, spectral_norms=w, betas=1, input_norm=x) == inf
        assert log10_linearisation_remainder_bound(d, spectral_norms=w, input_norm=x) == inf
        assert log10_neyshabur_bound(np.multiply(0.1, d), spectral_norms=w, input_norm=x) == inf
    assert log10_input_sensitivity_bound(1, spectral_norms=[0, inf], betas=1) == inf
    assert log10_input_sensitivity_bound(inf, spectral_norms=[0, 1], betas=1) == inf
    assert log10_telescoped_bound(moved, perturbed_spectral_norms=[1, inf], betas=1) == inf
    assert log10_telescoped_bound([inf, 0], perturbed_spectral_norms=[1, 0], betas=1) == inf
    # Layers that the change does not pass through do not count.
    assert_same(log10_telescoped_bound([0, 0.1], perturbed_spectral_norms=[inf, 1], betas=1), 0.1)
    # One entry without a bound leaves the others alone.
    w = [[1.0, inf], [1.0, 1.0]]
    value = log10_spectral_product_bound([0.1, 0.0], spectral_norms=w, betas=1, input_norm=1)
    np.testing.assert_allclose(value, [inf, -1])

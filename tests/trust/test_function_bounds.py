"""Bounds on the output's change: plain loops, exact fractions, attained cases, random chains, infinities."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trust.chains import random_change, random_weight
from trust import activation, spectral_norm, transmission
from trust.activations import Activation
from trust.function_bounds import (
    agd_step,
    log10_agd_curvature_bound,
    log10_input_sensitivity_bound,
    log10_linearisation_remainder_bound,
    log10_neyshabur_bound,
    log10_spectral_product_bound,
    log10_telescoped_bound,
)

Array = np.ndarray
Number = float | Fraction

seeds = st.integers(0, 2**32 - 1)

# --- the formulas in plain loops, for floats and for exact fractions alike ---


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


@settings(max_examples=150, deadline=None)
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


# --- extreme sizes ---


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


@settings(max_examples=40, deadline=None)
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


# --- automatic gradient descent ---


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


@settings(max_examples=50, deadline=None)
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


# --- attained cases ---


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


# --- the theorems on random chains ---

WIDTH, DEPTH = 6, 5
EPS = np.finfo(float).eps
ACTIVATIONS = ["identity", "relu", "tanh", "leaky_relu:0.1", "leaky_relu:3"]


@dataclass(frozen=True)
class Case:
    """A chain with its perturbation, each layer with an activation of its own; some layers are 0."""

    weights: list[Array]
    changes: list[Array]
    biases: list[Array]
    bias_changes: list[Array]
    x: Array
    activations: list[Activation]
    betas: Array

    def run(self, *, perturbed: bool = False, x: Array | None = None) -> list[Array]:
        """h_0, …, h_L."""
        h = [self.x if x is None else x]
        for k, (W, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            if perturbed:
                W, b = W + self.changes[k], b + self.bias_changes[k]
            h.append(self.activations[k].function(W @ h[-1] + b))
        return h

    def output_change(self) -> float:
        return float(np.linalg.norm(self.run(perturbed=True)[-1] - self.run()[-1]))

    def norms(self) -> tuple[Array, Array, Array]:
        """‖W_k‖₂, ‖ΔW_k‖₂ and ‖W̃_k‖₂."""
        after = [W + dW for W, dW in zip(self.weights, self.changes, strict=True)]
        w, d, w_after = (
            np.array([spectral_norm(matrix) for matrix in matrices])
            for matrices in (self.weights, self.changes, after)
        )
        return w, d, w_after

    def telescoped(self) -> float:
        h = self.run()
        pairs = zip(self.changes, h, strict=False)
        return float(
            log10_telescoped_bound(
                [np.linalg.norm(dW @ before) for dW, before in pairs],
                perturbed_spectral_norms=self.norms()[2],
                betas=self.betas,
                bias_changes=[np.linalg.norm(db) for db in self.bias_changes],
            )
        )

    def spectral_product(self) -> float:
        w, d, _ = self.norms()
        x = np.linalg.norm(self.x)
        return float(log10_spectral_product_bound(d, spectral_norms=w, betas=self.betas, input_norm=x))

    def rounding(self, *, x_norm: float | None = None) -> float:
        """What rounding can add to a measured change of output, or take off a measured response, in all.

        A layer of either network, or a response: n products and sums and a bias, (n + 4)ε(‖|W|‖‖h‖ + ‖b‖)
        with 4 for forming W̃, the bias and a φ good to 2ε, and ‖|W|‖₂ ≤ ‖W‖_F. Later layers stretch it
        by β‖W̃‖ ≤ β(‖W‖_F + ‖ΔW‖_F). Three of them: f, f̃ and the responses.
        """
        size, error = float(np.linalg.norm(self.x)) if x_norm is None else x_norm, 0.0
        for W, dW, b, db, beta in zip(
            self.weights, self.changes, self.biases, self.bias_changes, self.betas, strict=True
        ):
            gain = beta * (np.linalg.norm(W) + np.linalg.norm(dW))
            added = beta * (np.linalg.norm(b) + np.linalg.norm(db))
            error = float(gain * error + (WIDTH + 4) * EPS * (gain * size + added))
            size = float(gain * size + added)
        return 3 * error


def random_case(rng: np.random.Generator, *, biases: bool, activations: list[str] = ACTIVATIONS) -> Case:
    depth = int(rng.integers(1, DEPTH + 1))
    widths = rng.integers(1, WIDTH + 1, depth + 1)
    weights = [random_weight(rng, (int(widths[k + 1]), int(widths[k]))) for k in range(depth)]
    changes = [random_change(rng, W) * float(rng.choice([0.0, 1e-3, 0.1, 1.0])) for W in weights]
    weights = [W if rng.random() < 0.95 else np.zeros_like(W) for W in weights]
    specs = [str(rng.choice(activations)) for _ in range(depth)]
    vectors = [[rng.standard_normal(w) if biases else np.zeros(w) for w in widths[1:]] for _ in range(2)]
    return Case(
        weights,
        changes,
        vectors[0],
        [db * float(rng.choice([0.0, 0.01, 1.0])) for db in vectors[1]],
        rng.standard_normal(int(widths[0])) * 10 ** rng.uniform(-2, 2),
        [activation(spec) for spec in specs],
        np.array([transmission(spec).beta for spec in specs]),
    )


def assert_bounds(measured: float, log10_bound: float, rounding: float) -> None:
    """The SVD's norms are good to some nε, over five layers 1e-13, and β to 1e-10 (see `transmission`)."""
    assert measured <= 10**log10_bound * (1 + 1e-9) + rounding


@settings(max_examples=200, deadline=None)
@given(seed=seeds, biases=st.booleans())
def test_input_sensitivity_and_telescoped_bounds_hold(seed: int, biases: bool) -> None:
    rng = np.random.default_rng(seed)
    case = random_case(rng, biases=biases)
    assert_bounds(case.output_change(), case.telescoped(), case.rounding())
    dx = rng.standard_normal(case.x.size) * 10 ** rng.uniform(-3, 2)
    measured = float(np.linalg.norm(case.run(x=case.x + dx)[-1] - case.run()[-1]))
    w = case.norms()[0]
    bound = float(log10_input_sensitivity_bound(np.linalg.norm(dx), spectral_norms=w, betas=case.betas))
    assert_bounds(measured, bound, case.rounding(x_norm=float(np.linalg.norm(case.x) + np.linalg.norm(dx))))


@settings(max_examples=200, deadline=None)
@given(seed=seeds)
def test_spectral_product_holds_and_telescoped_is_sharper(seed: int) -> None:
    case = random_case(np.random.default_rng(seed), biases=False)
    assert_bounds(case.output_change(), case.spectral_product(), case.rounding())
    assert_bounds(10 ** case.telescoped(), case.spectral_product(), case.rounding())


@settings(max_examples=200, deadline=None)
@given(seed=seeds)
def test_neyshabur_holds_and_is_above_the_spectral_product(seed: int) -> None:
    rng = np.random.default_rng(seed)
    case = random_case(rng, biases=False, activations=["identity", "relu", "tanh", "leaky_relu:0.1"])
    w, d, _ = case.norms()
    with np.errstate(divide="ignore"):  # down to the premise, at the most ρ_k = 1/L
        shrink = np.where(d > 0, np.minimum(1.0, w / np.where(d > 0, d, 1.0) / d.size), 0.0)
    changes = [dW * s * (1 - 1e-12) for dW, s in zip(case.changes, shrink, strict=True)]
    case = Case(case.weights, changes, case.biases, case.bias_changes, case.x, case.activations, case.betas)
    w, d, _ = case.norms()
    bound = float(log10_neyshabur_bound(d, spectral_norms=w, input_norm=np.linalg.norm(case.x)))
    assert bound < np.inf
    assert_bounds(case.output_change(), bound, case.rounding())
    # By (e − 1)/e at most, so no rounding can turn the two round; −∞ for both where nothing moves.
    assert case.spectral_product() <= bound + math.log10((math.e - 1) / math.e) + 1e-9


@settings(max_examples=100, deadline=None)
@given(seed=seeds, size=st.sampled_from([1.0, 1e-6, 1e-12]))
def test_linearisation_remainder_holds_in_exact_arithmetic(seed: int, size: float) -> None:
    """Deep linear networks in fractions: no rounding in the measured remainder, whatever its size."""
    rng = np.random.default_rng(seed)
    case = random_case(rng, biases=False, activations=["identity"])
    changes = [size * dW for dW in case.changes]

    def matrix(M: Array) -> Array:
        return np.array([[Fraction(float(v)) for v in row] for row in M], dtype=object)

    P = np.array([Fraction(float(v)) for v in case.x], dtype=object)
    T, P_after = P * 0, P
    for W, dW in zip(map(matrix, case.weights), map(matrix, changes), strict=True):
        P, T, P_after = W @ P, W @ T + dW @ P, (W + dW) @ P_after
    left = [float(v) for v in P_after - P - T]
    w = [spectral_norm(W) for W in case.weights]
    d = [spectral_norm(dW) for dW in changes]
    bound = log10_linearisation_remainder_bound(d, spectral_norms=w, input_norm=np.linalg.norm(case.x))
    assert_bounds(float(np.linalg.norm(left)), float(bound), 0.0)
    change = np.linalg.norm([float(v) for v in P_after - P])
    bound = log10_spectral_product_bound(d, spectral_norms=w, betas=1, input_norm=np.linalg.norm(case.x))
    assert_bounds(float(change), float(bound), 0.0)


def breaches(check: Callable[[np.random.Generator], bool]) -> float:
    return float(np.mean([check(np.random.default_rng(seed)) for seed in range(150)]))


def test_the_checks_have_power() -> None:
    """A bound without β, one layer's term or the biases' part is broken on a fair share of such chains."""

    def without_beta(rng: np.random.Generator) -> bool:
        case = random_case(rng, biases=False, activations=["leaky_relu:3"])
        return case.output_change() > 1.001 * 10 ** (
            case.spectral_product() - case.betas.size * math.log10(3)
        )

    def without_bias_changes(rng: np.random.Generator) -> bool:
        case = random_case(rng, biases=True)
        still = [np.zeros_like(db) for db in case.bias_changes]
        blind = Case(case.weights, case.changes, case.biases, still, case.x, case.activations, case.betas)
        return case.output_change() > 1.001 * 10 ** blind.telescoped()

    def spectral_with_biases(rng: np.random.Generator) -> bool:
        case = random_case(rng, biases=True)
        return case.output_change() > 1.001 * 10 ** case.spectral_product()

    for check in (without_beta, without_bias_changes, spectral_with_biases):
        assert breaches(check) > 0.05


# --- premises, zeros and infinities ---


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


# --- bad input ---

GOOD: dict[str, tuple[Callable[..., Array], dict[str, object]]] = {
    "input": (
        log10_input_sensitivity_bound,
        {"input_change_norm": 1.0, "spectral_norms": [1.0, 1.0], "betas": [1.0, 1.0]},
    ),
    "spectral": (
        log10_spectral_product_bound,
        {
            "perturbation_norms": [0.1, 0.1],
            "spectral_norms": [1.0, 1.0],
            "betas": [1.0, 1.0],
            "input_norm": 1.0,
        },
    ),
    "neyshabur": (
        log10_neyshabur_bound,
        {"perturbation_norms": [0.1, 0.1], "spectral_norms": [1.0, 1.0], "input_norm": 1.0},
    ),
    "telescoped": (
        log10_telescoped_bound,
        {
            "responses": [0.1, 0.1],
            "perturbed_spectral_norms": [1.0, 1.0],
            "betas": [1.0, 1.0],
            "bias_changes": [0.1, 0.1],
        },
    ),
    "remainder": (
        log10_linearisation_remainder_bound,
        {"perturbation_norms": [0.1, 0.1], "spectral_norms": [1.0, 1.0], "input_norm": 1.0},
    ),
    "curvature": (log10_agd_curvature_bound, {"eta": 0.1}),
    "step": (agd_step, {"gradient_norms": [0.1, 0.1], "rows": [2, 2], "columns": [3, 3]}),
}
CASES = [(which, name) for which, (_, arguments) in GOOD.items() for name in arguments]
PER_LAYER = ("betas", "spectral_norms", "perturbed_spectral_norms", "bias_changes", "rows", "columns")
FIRST = ("perturbation_norms", "responses", "gradient_norms")


@pytest.mark.parametrize(("which", "name"), CASES)
def test_bad_arguments_are_refused_by_name(which: str, name: str) -> None:
    function, arguments = GOOD[which]
    function(**arguments)
    for bad in (np.nan, -0.1):
        value = np.array(arguments[name], dtype=float)
        value[(0,) * value.ndim] = bad
        with pytest.raises(ValueError, match=rf"^{name} .*(NaN|negative)"):
            function(**{**arguments, name: value})
    with pytest.raises(ValueError, match="real numbers"):
        function(**{**arguments, name: "0.1"})
    if name in FIRST:
        with pytest.raises(ValueError, match=f"^{name} needs the layers on its last axis"):
            function(**{**arguments, name: 0.1})
    if name in PER_LAYER and not (which == "input" and name == "spectral_norms"):
        with pytest.raises(ValueError, match=f"^{name} has 3 layers on its last axis, expected 2"):
            function(**{**arguments, name: [1.0, 1.0, 1.0]})


def test_agd_step_refuses_what_it_cannot_average() -> None:
    for change, message in [
        ({"gradient_norms": []}, "gradient_norms needs at least one layer"),
        ({"gradient_norms": [np.inf, 1]}, "finite"),
        ({"rows": 0}, "rows must be at least 1"),
        ({"columns": np.inf}, "columns must be"),
    ]:
        with pytest.raises(ValueError, match=message):
            agd_step(**{"gradient_norms": [1.0, 1.0], "rows": 1, "columns": 1, **change})

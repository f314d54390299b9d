"""Bounds on the output's change hold on random chains, with every layer an activation of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trust.chains import random_change, random_weight
from trust import activation, spectral_norm, transmission
from trust.activations import Activation
from trust.function_bounds import (
    log10_input_sensitivity_bound,
    log10_linearisation_remainder_bound,
    log10_neyshabur_bound,
    log10_spectral_product_bound,
    log10_telescoped_bound,
)

Array = np.ndarray

seeds = st.integers(0, 2**32 - 1)
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


@settings(max_examples=200)
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


@settings(max_examples=200)
@given(seed=seeds)
def test_spectral_product_holds_and_telescoped_is_sharper(seed: int) -> None:
    case = random_case(np.random.default_rng(seed), biases=False)
    assert_bounds(case.output_change(), case.spectral_product(), case.rounding())
    assert_bounds(10 ** case.telescoped(), case.spectral_product(), case.rounding())


@settings(max_examples=200)
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


@settings(max_examples=100)
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

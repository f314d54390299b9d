"""Theorem 1 on random chains, and what breaks without the premises."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.trust.chains import (
    LOG10_TOLERANCE,
    SMALLEST_DISTANCE,
    Chain,
    log10_excess,
    random_chain,
)
from tests.trust.theorem1.bounds import gated, jacobian, layerwise, published
from trust import (
    activation,
    condition_number,
    deep_relative_trust,
    log10_gated_jacobian_bound,
    relative_norm,
    transmission,
)

CHAINS = 1_000


def chains(*, profile: str, biases: bool = False, seed: int = 0, count: int = CHAINS) -> list[Chain]:
    rng = np.random.default_rng(seed)
    drawn = (random_chain(rng, profile=profile, biases=biases) for _ in range(count))
    return [chain for chain in drawn if deep_relative_trust(chain.relative) >= SMALLEST_DISTANCE]


@pytest.fixture(scope="module")
def growing() -> list[Chain]:
    return chains(profile="growing")


def excesses(
    some: list[Chain], bound: Callable[[Chain], float], measure: Callable[[Chain], float]
) -> np.ndarray:
    return np.array([log10_excess(measure(chain), bound(chain)) for chain in some])


def test_function_bound_holds(growing: list[Chain]) -> None:
    excess = excesses(growing, published, Chain.output_change)
    assert len(growing) > 0.95 * CHAINS
    assert np.isfinite(excess).mean() > 0.9, "too few of the drawn chains test anything"
    assert excess.max() <= LOG10_TOLERANCE


def test_layerwise_bound_holds_and_is_sharper(growing: list[Chain]) -> None:
    excess = excesses(growing, layerwise, Chain.output_change)
    assert excess.max() <= LOG10_TOLERANCE
    assert excess.max() > -0.05, "no chain comes near the bound, so the test is blunt"
    gap = np.array([published(chain) - layerwise(chain) for chain in growing])
    assert gap.min() >= -1e-9  # log10 of sums and of one κ: rounding only


def test_no_condition_number_is_caught(growing: list[Chain]) -> None:
    """The check of the check: with κ = 1 the bound is broken on a fair share of the same chains."""
    excess = excesses(growing, lambda chain: published(chain, kappa=1.0), Chain.output_change)
    assert (excess > 0.3).mean() > 0.02


@pytest.mark.parametrize("profile", ["growing", "shrinking", "valley"])
@pytest.mark.parametrize("biases", [False, True])
def test_gated_jacobian_bound_holds(profile: str, biases: bool) -> None:
    moved = broken_without_kappa = 0
    worst, finite = -np.inf, 0
    some = chains(profile=profile, biases=biases, seed=1, count=CHAINS // 4)
    for chain in some:
        measured, s = chain.jacobian_change()
        excess = log10_excess(measured, gated(chain, s))
        worst, finite = max(worst, excess), finite + np.isfinite(excess)
        moved += bool(np.any(s > 0))
        broken_without_kappa += log10_excess(measured, gated(chain, s, kappa=1.0)) > LOG10_TOLERANCE
    assert finite > 0.9 * len(some)
    assert moved > 0.3 * len(some)
    assert broken_without_kappa > 0
    assert worst <= LOG10_TOLERANCE


def test_gated_jacobian_bound_breaks_on_a_hill() -> None:
    """Widths that grow, then shrink: W₂W₁ = 0 while every κ is 1, so the change is infinite."""
    W1, W2 = np.array([[1.0], [0.0]]), np.array([[0.0, 1.0]])
    d1, d2 = np.array([[0.0], [0.1]]), np.array([[0.1, 0.0]])
    assert {condition_number(m) for m in (W1, W2, W1 + d1, W2 + d2, d1, d2)} == {1.0}
    change = relative_norm((W2 + d2) @ (W1 + d1) - W2 @ W1, W2 @ W1)
    bound = log10_gated_jacobian_bound(
        [0.1, 0.1], gate_changes=[0.0, 0.0], condition_number=1, alpha=1, beta=1
    )
    assert change == np.inf
    assert bound == pytest.approx(np.log10(0.21))


def test_published_jacobian_bound_holds_where_no_gate_moves() -> None:
    some = [
        chain
        for profile in ("growing", "shrinking", "valley")
        for chain in chains(profile=profile, seed=2, count=CHAINS // 3)
        if chain.activation.name == "identity"
    ]
    assert len(some) > CHAINS // 10
    assert excesses(some, jacobian, lambda c: c.jacobian_change()[0]).max() <= LOG10_TOLERANCE


def test_published_jacobian_bound_breaks_where_a_gate_moves() -> None:
    """The docstring's counterexample: every κ is 1, the bound vanishes with t, the change does not."""
    a, t = 0.5, 1e-3
    W, dW = np.eye(2), np.array([[0, 2 * t], [-2 * t, 0]])
    spec = "leaky_relu:0.5"
    phi, constants = activation(spec), transmission(spec)
    chain = Chain([W], [dW], [np.zeros(2)], np.array([1.0, t]), phi, constants)
    assert condition_number(W + dW) == pytest.approx(1, abs=1e-12)
    assert chain.kappa == pytest.approx(1, abs=1e-12)
    change, s = chain.jacobian_change()
    assert change == pytest.approx((1 - a) / np.sqrt(2), rel=1e-2)
    assert 10 ** jacobian(chain) == pytest.approx(2 * t / a, rel=1e-9)
    assert change > 80 * 10 ** jacobian(chain)
    assert change <= 10 ** gated(chain, s)
    # Theorem 1a has nothing against the same perturbation.
    assert chain.output_change() <= 10 ** published(chain)


def test_function_bound_breaks_without_injectivity() -> None:
    """The module docstring's counterexample: every κ is 1, and the output changes by ε/t, not ε."""
    t, epsilon = 1e-3, 1e-2
    phi, constants = activation("identity"), transmission("identity")
    W, dW = np.array([[1.0, 0.0]]), np.array([[0.0, epsilon]])
    chain = Chain([W], [dW], [np.zeros(1)], np.array([t, 1.0]), phi, constants)
    assert condition_number(W + dW) == chain.kappa == 1
    assert 10 ** published(chain) == pytest.approx(epsilon)
    assert chain.output_change() == pytest.approx(epsilon / t)


def test_function_bound_breaks_on_random_shrinking_chains() -> None:
    some = chains(profile="shrinking", seed=3, count=600)
    assert (excesses(some, published, Chain.output_change) > 0.1).sum() > 5


entries = st.floats(-3, 3, allow_nan=False).map(lambda v: round(v, 6))


@settings(max_examples=150)
@given(
    weights=arrays(np.float64, (2, 2, 2), elements=entries),
    changes=arrays(np.float64, (2, 2, 2), elements=entries),
    x=arrays(np.float64, 2, elements=entries),
    size=st.sampled_from([1e-3, 0.1, 1.0]),
)
def test_theorem1_holds_for_what_hypothesis_finds(
    weights: np.ndarray, changes: np.ndarray, x: np.ndarray, size: float
) -> None:
    spec = "leaky_relu:0.3"
    chain = Chain(
        list(weights), list(size * changes), [np.zeros(2)] * 2, x, activation(spec), transmission(spec)
    )
    assume(np.any(x) and all(condition_number(W) < 1e4 for W in weights))
    assume(deep_relative_trust(chain.relative) >= SMALLEST_DISTANCE)
    assert log10_excess(chain.output_change(), published(chain)) <= LOG10_TOLERANCE
    assert log10_excess(chain.output_change(), layerwise(chain)) <= LOG10_TOLERANCE
    change, s = chain.jacobian_change()
    assert log10_excess(change, gated(chain, s)) <= LOG10_TOLERANCE

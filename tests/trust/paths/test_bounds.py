"""The paths' bounds on the outputs of random ReLU networks."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trust.paths.networks import (
    EPS,
    RELATIVE,
    Array,
    Net,
    assert_same,
    distance,
    moved,
    random_net,
    seeds,
)
from trust.paths import (
    log10_path_distance,
    log10_path_metric_bound,
    log10_path_norm,
    path_vector,
)


def rounding(net: Net, scale: float) -> float:
    """What rounding adds to ‖f(x)‖₁: (Σ_k d_{k−1} + 2)ε of every path's product, times max(‖x‖_∞, 1)."""
    terms = sum(W.shape[1] + 2 for W in net.weights)
    return 2 * terms * EPS * scale * 10 ** log10_path_norm(net.weights, net.biases)


def random_input(rng: np.random.Generator, net: Net) -> tuple[Array, float]:
    x = rng.standard_normal(net.weights[0].shape[1]) * 10 ** rng.uniform(-2, 2)
    return x, max(float(np.abs(x).max()), 1.0)


@settings(max_examples=300)
@given(seed=seeds, size=st.sampled_from([1e-6, 0.1, 1.0, 10.0]), at_the_end=st.booleans())
def test_path_distance_bounds_the_output_whatever_the_signs(seed: int, size: float, at_the_end: bool) -> None:
    rng = np.random.default_rng(seed)
    net = random_net(rng, widest=6)
    other = moved(rng, net, size) if rng.random() < 0.8 else Net([-W for W in net.weights], net.biases)
    x, scale = random_input(rng, net)
    gap = other.run(x, relu_at_the_end=at_the_end) - net.run(x, relu_at_the_end=at_the_end)
    bound = log10_path_metric_bound(distance(net, other), input_max=np.abs(x).max())
    # The logarithms' own 1e-12, and rounding in the two outputs.
    slack = rounding(net, scale) + rounding(other, scale)
    assert np.abs(gap).sum() <= 10**bound * (1 + RELATIVE) + slack
    assert np.abs(net.run(x)).sum() <= scale * 10 ** log10_path_norm(net.weights, net.biases) * (1 + 1e-10)


@settings(max_examples=200)
@given(seed=seeds, size=st.sampled_from([1e-3, 0.1, 1.0]))
def test_path_vectors_bound_the_output_where_the_signs_agree(seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    net = random_net(rng)
    other = moved(rng, net, size, same_signs=True)
    x, scale = random_input(rng, net)
    gap = np.abs(other.run(x) - net.run(x)).sum()
    apart = np.abs(path_vector(net.weights, net.biases) - path_vector(other.weights, other.biases)).sum()
    assert gap <= scale * apart * (1 + 1e-10) + 2 * (rounding(net, scale) + rounding(other, scale))


def test_path_vectors_bound_nothing_where_the_signs_differ() -> None:
    """The module docstring's counterexample, and that the distance through the midpoint covers it."""
    net, other = (Net([np.array([[s]]), np.array([[s]])], [None, None]) for s in (1.0, -1.0))
    np.testing.assert_array_equal(path_vector(net.weights), path_vector(other.weights))
    for x in (np.array([-2.0]), np.array([3.0])):
        assert net.run(x) == max(x[0], 0)
        assert other.run(x) == -max(-x[0], 0)
    assert_same(distance(net, other), 2)


def test_the_bound_is_attained() -> None:
    """Nonnegative weights and an input of ones: f(1) = PN(W), and every change of it is the distance."""
    rng = np.random.default_rng(1)
    W = [rng.uniform(0, 1, (5, 3)), rng.uniform(0, 1, (4, 5)), rng.uniform(0, 1, (2, 4))]
    b = [rng.uniform(0, 1, 5), None, rng.uniform(0, 1, 2)]
    net = Net(W, b)
    more = Net([w * (1 + rng.uniform(0, 1, w.shape)) for w in W], [None if v is None else 2 * v for v in b])
    x = np.ones(3)
    assert_same(log10_path_norm(W, b), net.run(x).sum())
    gap = np.abs(more.run(x) - net.run(x)).sum()
    assert_same(float(log10_path_metric_bound(distance(net, more), input_max=1.0)), gap)


def test_checks_have_power() -> None:
    """Without the biases' paths, or with ‖x‖_∞ for max(‖x‖_∞, 1), outputs differ by more than claimed."""
    without_biases = without_one = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        net = random_net(rng)
        other = moved(rng, net, 1.0)
        x, scale = random_input(rng, net)
        gap = np.abs(other.run(x) - net.run(x)).sum()
        without_biases += gap > 1.001 * scale * 10 ** log10_path_distance(net.weights, other.weights)
        without_one += gap > 1.001 * np.abs(x).max() * 10 ** distance(net, other)
    assert without_biases > 10
    assert without_one > 10


def test_metric_bound_broadcasts() -> None:
    value = log10_path_metric_bound([[-1.0], [-np.inf], [400.0]], input_max=[0.0, 0.5, 100.0, np.inf])
    expected = [[-1, -1, 1, np.inf], [-np.inf] * 4, [400, 400, 402, np.inf]]
    np.testing.assert_allclose(value, expected)

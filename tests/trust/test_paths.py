"""Path norms and distances: against enumeration and exact fractions, and the bounds on random ReLU networks."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trust.paths import (
    MAX_PATHS,
    log10_path_distance,
    log10_path_metric_bound,
    log10_path_norm,
    log10_path_norm_and_distance,
    path_vector,
)

Array = np.ndarray
EPS = np.finfo(float).eps
# Logarithms of numbers between 1e-300 and 1e300 in four layers: 4·700·2ε = 1.3e-12 of the number itself.
RELATIVE = 1e-10

seeds = st.integers(0, 2**32 - 1)


@dataclass(frozen=True)
class Net:
    """A ReLU network with a linear last layer; a layer's bias may be None."""

    weights: list[Array]
    biases: list[Array | None]

    def run(self, x: Array, *, relu_at_the_end: bool = False) -> Array:
        h = x
        for k, (W, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = W @ h + (0.0 if b is None else b)
            if relu_at_the_end or k + 1 < len(self.weights):
                h = np.maximum(h, 0.0)
        return h

    def exact_paths(self) -> list[Fraction]:
        """Every path's product, start by start and unit by unit, in exact arithmetic."""
        L, widths = len(self.weights), [self.weights[0].shape[1], *(W.shape[0] for W in self.weights)]
        products = []
        for start in range(L + 1):  # 0 for the inputs, l for the bias of layer l
            if start > 0 and self.biases[start - 1] is None:
                continue
            for units in itertools.product(*(range(widths[k]) for k in range(start, L + 1))):
                value = Fraction(1) if start == 0 else Fraction(float(self.biases[start - 1][units[0]]))
                for k in range(start, L):
                    value *= Fraction(float(self.weights[k][units[k - start + 1], units[k - start]]))
                products.append(value)
        return products

    def path_norm(self) -> Fraction:
        return sum((abs(value) for value in self.exact_paths()), Fraction(0))


def random_net(rng: np.random.Generator, *, widest: int = 4, deepest: int = 4) -> Net:
    """Small, some entries 0, biases in all, some or none of the layers."""
    depth = int(rng.integers(1, deepest + 1))
    widths = rng.integers(1, widest + 1, depth + 1)
    share = rng.choice([0.0, 0.5, 1.0])
    weights = [rng.standard_normal((widths[k + 1], widths[k])) for k in range(depth)]
    weights = [np.where(rng.random(W.shape) < 0.15, 0.0, W) for W in weights]
    biases = [rng.standard_normal(w) if rng.random() < share else None for w in widths[1:]]
    return Net(weights, biases)


def moved(rng: np.random.Generator, net: Net, size: float, *, same_signs: bool = False) -> Net:
    """The network with every entry moved by about `size`, or some of the entries only."""

    def move(array: Array) -> Array:
        step = size * rng.standard_normal(array.shape) * (rng.random(array.shape) < rng.choice([0.3, 1.0]))
        return array * np.exp(step) if same_signs else array + step

    return Net([move(W) for W in net.weights], [None if b is None else move(b) for b in net.biases])


def midpoint(one: Net, other: Net) -> Net:
    """m: the common sign and the smaller magnitude, entry by entry."""

    def common(a: Array | None, b: Array | None) -> Array | None:
        if a is None or b is None:
            return None
        out = np.zeros_like(a)
        for at in np.ndindex(a.shape):
            if a[at] > 0 and b[at] > 0:
                out[at] = min(a[at], b[at])
            if a[at] < 0 and b[at] < 0:
                out[at] = max(a[at], b[at])
        return out

    return Net(
        [common(*pair) for pair in zip(one.weights, other.weights, strict=True)],
        [common(*pair) for pair in zip(one.biases, other.biases, strict=True)],
    )


def distance(one: Net, other: Net) -> float:
    return log10_path_distance(one.weights, other.weights, one.biases, other.biases)


def exact_distance(one: Net, other: Net) -> Fraction:
    return one.path_norm() + other.path_norm() - 2 * midpoint(one, other).path_norm()


def l1_of_difference(one: Net, other: Net) -> Fraction:
    pairs = zip(one.exact_paths(), other.exact_paths(), strict=True)
    return sum((abs(a - b) for a, b in pairs), Fraction(0))


def assert_same(log10_value: float, expected: Fraction | float) -> None:
    assert 10**log10_value == pytest.approx(float(expected), rel=RELATIVE, abs=0)


# --- against enumeration ---


@settings(max_examples=100, deadline=None)
@given(seed=seeds)
def test_path_norm_is_the_sum_over_all_paths(seed: int) -> None:
    net = random_net(np.random.default_rng(seed))
    assert_same(log10_path_norm(net.weights, net.biases), net.path_norm())


@settings(max_examples=100, deadline=None)
@given(seed=seeds)
def test_path_vector_lists_every_path(seed: int) -> None:
    """As a multiset of products: each of at most five factors, so good to 4ε."""
    net = random_net(np.random.default_rng(seed))
    expected = np.sort([float(value) for value in net.exact_paths()])
    np.testing.assert_allclose(np.sort(path_vector(net.weights, net.biases)), expected, rtol=5 * EPS)


@settings(max_examples=150, deadline=None)
@given(seed=seeds, size=st.sampled_from([1e-15, 1e-12, 1e-6, 0.1, 3.0]))
def test_path_distance_is_its_definition_without_cancellation(seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    net = random_net(rng, widest=3)
    other = moved(rng, net, size)
    expected = exact_distance(net, other)
    assert_same(distance(net, other), expected)
    assert_same(distance(other, net), expected)
    # An upper bound on the distance of the path vectors, with no premise on the signs.
    gap = l1_of_difference(net, other)
    assert gap <= expected
    in_floats = np.abs(path_vector(net.weights, net.biases) - path_vector(other.weights, other.biases)).sum()
    # Order matters here: with another order of paths the two would differ wholly.
    paths = len(net.exact_paths()) * EPS * 10 * float(max(net.path_norm(), other.path_norm()))
    assert in_floats == pytest.approx(float(gap), rel=1e-9, abs=paths)


@settings(max_examples=60, deadline=None)
@given(seed=seeds)
def test_distance_is_that_of_the_path_vectors_where_one_is_the_midpoint(seed: int) -> None:
    rng = np.random.default_rng(seed)
    net = random_net(rng, widest=3)
    less = Net(
        [W * rng.uniform(0, 1, W.shape) for W in net.weights],
        [None if b is None else b * rng.uniform(0, 1, b.shape) for b in net.biases],
    )
    assert_same(distance(net, less), l1_of_difference(net, less))


@settings(max_examples=100, deadline=None)
@given(seed=seeds)
def test_one_walk_gives_both_numbers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one = random_net(rng)
    other = moved(rng, one, 0.5)
    pairs = (zip(net.weights, net.biases, strict=True) for net in (one, other))
    expected = (log10_path_norm(other.weights, other.biases), distance(one, other))
    assert log10_path_norm_and_distance(zip(*pairs, strict=True)) == expected


def test_a_walk_refuses_what_does_not_fit() -> None:
    W = np.ones((2, 3))
    for layers in (
        [],
        [((W, None), (W.T, None))],
        [((W, None), (W, None))] * 2,
        [((W * np.nan, None), (W, None))],
    ):
        with pytest.raises(ValueError, match="layer"):
            log10_path_norm_and_distance(layers)


def test_by_hand() -> None:
    """W = (|2 −3|, 5 over a bias −7 after a bias 1): 5·(2 + 3 + 1) + 7 = 37."""
    weights, biases = [np.array([[2.0, -3.0]]), np.array([[5.0]])], [[1.0], [-7.0]]
    assert_same(log10_path_norm(weights, biases), 37)
    assert_same(log10_path_norm(weights), 25)
    assert_same(log10_path_norm(weights, [None, [-7.0]]), 32)
    assert sorted(path_vector(weights, biases)) == [-15, -7, 5, 10]
    # After: −2 for 2 and 4 for 5: m is (0, −3), 4, so 25 + 20 − 2·12.
    after = [np.array([[-2.0, -3.0]]), np.array([[4.0]])]
    assert_same(log10_path_distance(weights, after), 21)
    # A bias that was not there is one of 0, with no sign in common.
    assert_same(log10_path_distance(weights, weights, None, [None, [3.0]]), 3)
    assert_same(log10_path_distance(weights, weights, [[1.0], None], [[-1.0], None]), 10)


def test_rescaling_both_networks_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    net = random_net(rng, deepest=2)
    while len(net.weights) < 2 or net.biases[0] is None:
        net = random_net(rng, deepest=2)
    other = moved(rng, net, 0.3)
    factors = 2.0 ** rng.integers(-30, 30, net.weights[0].shape[0])

    def rescaled(some: Net) -> Net:
        W, b = some.weights, some.biases
        return Net([factors[:, None] * W[0], W[1] / factors], [factors * b[0], b[1]])

    assert_same(distance(rescaled(net), rescaled(other)), 10 ** distance(net, other))
    assert_same(log10_path_norm(rescaled(net).weights, rescaled(net).biases), net.path_norm())
    vectors = [path_vector(some.weights, some.biases) for some in (net, rescaled(net))]
    np.testing.assert_array_equal(*vectors)
    # Of only one of them: the same function and path vector, but another midpoint.
    assert distance(net, rescaled(net)) > -3


# --- extreme sizes ---


# Powers of two near 1e±200, so that 1 + 2^-40 times them is exact.
@pytest.mark.parametrize("entry", [2.0**664, 2.0**-664, 1.0])
def test_a_thousand_layers_of_any_size(entry: float) -> None:
    """W_k = c·ones(2, 2): PN = 2·2^L c^L. Then one, or all, layers larger by a factor 1 + ρ."""
    L, rho = 1000, 2.0**-40
    weights = [np.full((2, 2), entry)] * L
    log10_PN = math.log10(2) * (L + 1) + L * math.log10(entry)
    tolerance = {"rel": 1e-12, "abs": 1e-9}  # 1000 roundings of a logarithm up to 200000·2.3
    assert log10_path_norm(weights) == pytest.approx(log10_PN, **tolerance)
    one = [*weights[:500], weights[500] * (1 + rho), *weights[501:]]
    value = log10_path_distance(weights, one)
    assert value == pytest.approx(log10_PN + math.log10(rho), **tolerance)
    every = [W * (1 + rho) for W in weights]
    value = log10_path_distance(every, weights)
    assert value == pytest.approx(log10_PN + math.log10(math.expm1(L * math.log1p(rho))), **tolerance)
    flipped = [-weights[0], *weights[1:]]
    assert log10_path_distance(weights, flipped) == pytest.approx(log10_PN + math.log10(2), **tolerance)


def test_entries_of_all_sizes_in_one_network() -> None:
    """Units too small for any common scale with the others' come back through large weights."""
    weights = [
        np.array([[1e300], [1e-300]]),
        np.array([[1e300, 1.0], [0.0, 1e-300]]),
        np.array([[0.0, 1e300]]),
    ]
    assert log10_path_norm(weights) == pytest.approx(-300)
    assert log10_path_norm([*weights[:2], np.ones((1, 2))]) == pytest.approx(600)
    # A small bias after a huge unit whose weight is 0, and the distance that only it makes.
    weights, biases = [np.array([[1e300]]), np.array([[0.0]])], [None, np.array([1e-300])]
    assert log10_path_norm(weights, biases) == pytest.approx(-300)
    assert log10_path_distance(weights, weights, biases, [None, np.array([2e-300])]) == pytest.approx(-300)
    assert log10_path_norm([[[5e-324]], [[5e-324]]]) == pytest.approx(2 * math.log10(5e-324))


def test_zero_networks_and_equal_ones() -> None:
    zero = [np.zeros((2, 3)), np.ones((1, 2))]
    assert log10_path_norm(zero) == -np.inf
    assert log10_path_distance(zero, zero) == -np.inf
    assert log10_path_distance([np.ones((1, 1))], [np.ones((1, 1))], [[2.0]], [[2.0]]) == -np.inf
    # A change on no path at all: behind it there is only a 0.
    assert log10_path_distance([np.ones((1, 1)), [[0.0]]], [2 * np.ones((1, 1)), [[0.0]]]) == -np.inf
    assert_same(log10_path_distance(zero, [np.ones((2, 3)), np.ones((1, 2))]), 6)


# --- the bounds on the output ---


def rounding(net: Net, scale: float) -> float:
    """What rounding adds to ‖f(x)‖₁: (Σ_k d_{k−1} + 2)ε of every path's product, times max(‖x‖_∞, 1)."""
    terms = sum(W.shape[1] + 2 for W in net.weights)
    return 2 * terms * EPS * scale * 10 ** log10_path_norm(net.weights, net.biases)


def random_input(rng: np.random.Generator, net: Net) -> tuple[Array, float]:
    x = rng.standard_normal(net.weights[0].shape[1]) * 10 ** rng.uniform(-2, 2)
    return x, max(float(np.abs(x).max()), 1.0)


@settings(max_examples=300, deadline=None)
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


@settings(max_examples=200, deadline=None)
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


# --- bad input ---

GOOD = [np.ones((2, 3)), np.ones((1, 2))]


@pytest.mark.parametrize(
    ("weights", "biases", "message"),
    [
        ([], None, "weights needs at least one layer"),
        ([np.ones((2, 3)), np.ones((1, 3))], None, r"weights\[1\] of shape \(1, 3\) does not fit"),
        ([np.ones(3)], None, r"weights\[0\] must be a matrix"),
        ([np.ones((2, 1, 3, 3))], None, r"weights\[0\] must be a matrix"),
        ([np.ones((0, 3))], None, r"weights\[0\] must be a matrix"),
        ([np.ones((2, 3)), [[1.0, np.nan]]], None, r"weights\[1\] has 1 NaN or infinite"),
        ([np.ones((2, 3)), [[1.0, np.inf]]], None, r"weights\[1\] has 1 NaN or infinite"),
        ([["a"]], None, "real numbers"),
        (GOOD, [None], "biases has 1 layers but weights has 2"),
        (GOOD, [None, np.ones(2)], r"biases\[1\] has shape \(2,\), expected \(1,\)"),
        (GOOD, [1.0, None], r"biases\[0\] has shape \(\), expected \(2,\)"),
        (GOOD, [[1.0, np.nan], None], r"biases\[0\] has 1 NaN or infinite"),
    ],
)
def test_bad_networks_are_refused_by_name(weights: list, biases: list | None, message: str) -> None:
    for function in (log10_path_norm, path_vector):
        with pytest.raises(ValueError, match=message):
            function(weights, biases)
    with pytest.raises(
        ValueError, match=message.replace("weights", "before").replace("biases", "biases_before")
    ):
        log10_path_distance(weights, GOOD, biases)
    with pytest.raises(
        ValueError, match=message.replace("weights", "after").replace("biases", "biases_after")
    ):
        log10_path_distance(GOOD, weights, None, biases)


def test_other_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"before has shapes .* but after has shapes"):
        log10_path_distance(GOOD, GOOD[:1])
    with pytest.raises(ValueError, match=r"before has shapes .* but after has shapes"):
        log10_path_distance([np.ones((2, 2))], [np.ones((2, 3))])
    with pytest.raises(ValueError, match=f"{10**6 + 10} paths, more than the {MAX_PATHS}"):
        path_vector([np.ones((10, 1))] + [np.ones((10, 10))] * 5, [None] * 5 + [np.ones(10)])
    assert path_vector([np.ones((10, 1))] + [np.ones((10, 10))] * 5).shape == (MAX_PATHS,)
    with pytest.raises(ValueError, match="overflows"):
        path_vector([[[1e200]], [[1e200]], [[0.0]]])
    with pytest.raises(ValueError, match="log10_distance has 1 NaN"):
        log10_path_metric_bound([0.0, np.nan], input_max=1.0)
    for bad in (-1.0, np.nan):
        with pytest.raises(ValueError, match=r"input_max .*(NaN|negative)"):
            log10_path_metric_bound(0.0, input_max=bad)

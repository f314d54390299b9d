"""Path norms and distances: against enumeration and exact fractions, by hand, at extreme sizes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trust.paths.networks import (
    EPS,
    Net,
    assert_same,
    distance,
    exact_distance,
    l1_of_difference,
    moved,
    random_net,
    seeds,
)
from trust.paths import (
    MAX_PATHS,
    log10_path_distance,
    log10_path_metric_bound,
    log10_path_norm,
    log10_path_norm_and_distance,
    path_vector,
)


@settings(max_examples=100)
@given(seed=seeds)
def test_path_norm_is_the_sum_over_all_paths(seed: int) -> None:
    net = random_net(np.random.default_rng(seed))
    assert_same(log10_path_norm(net.weights, net.biases), net.path_norm())


@settings(max_examples=100)
@given(seed=seeds)
def test_path_vector_lists_every_path(seed: int) -> None:
    """As a multiset of products: each of at most five factors, so good to 4ε."""
    net = random_net(np.random.default_rng(seed))
    expected = np.sort([float(value) for value in net.exact_paths()])
    np.testing.assert_allclose(np.sort(path_vector(net.weights, net.biases)), expected, rtol=5 * EPS)


@settings(max_examples=150)
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


@settings(max_examples=60)
@given(seed=seeds)
def test_distance_is_that_of_the_path_vectors_where_one_is_the_midpoint(seed: int) -> None:
    rng = np.random.default_rng(seed)
    net = random_net(rng, widest=3)
    less = Net(
        [W * rng.uniform(0, 1, W.shape) for W in net.weights],
        [None if b is None else b * rng.uniform(0, 1, b.shape) for b in net.biases],
    )
    assert_same(distance(net, less), l1_of_difference(net, less))


@settings(max_examples=100)
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

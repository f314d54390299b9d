"""The pattern-telescoped bound: closed forms, exact arithmetic, and its place below the telescoped bound."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trust.pattern.networks import Pair, cancelling, drawn, exact_square, outputs, seeds
from trust import log10_telescoped_bound
from trust.pattern import FrozenChain, Stage, pattern_bound

CLOSE = 1e-11
"""Of a chain of a few layers: the proved norms are within some 1e-12 each."""


def stages(weights, biases=None, *, slopes):
    biases = biases or [None] * len(weights)
    return [Stage.of(W, b, slope=a) for W, b, a in zip(weights, biases, slopes, strict=True)]


def bound_of(before, after, x):
    return pattern_bound(FrozenChain(before, np.atleast_2d(x)).perturbed(after))


def test_one_linear_layer_is_exact():
    rng = np.random.default_rng(0)
    W, dW, db, x = (
        rng.normal(size=(3, 4)),
        rng.normal(size=(3, 4)),
        rng.normal(size=3),
        rng.normal(size=(5, 4)),
    )
    found = bound_of(stages([W], slopes=[1]), stages([W + dW], [db], slopes=[1]), x)
    assert np.allclose(found, np.linalg.norm(x @ dW.T + db, axis=1), rtol=1e-13, atol=0)


def test_one_layer_of_relu_counts_what_can_become_active():
    """Z = −1 moves by 2: h goes from 0 to 1, and the chord's slope is one half."""
    found = bound_of(stages([[[-1.0]]], slopes=[0]), stages([[[1.0]]], slopes=[0]), [1.0])
    assert found == pytest.approx(1.0, rel=1e-14)
    # leaky: from −a to 1, the chord's slope is (1 + a)/2
    found = bound_of(stages([[[-1.0]]], slopes=[0.5]), stages([[[1.0]]], slopes=[0.5]), [1.0])
    assert found == pytest.approx(1.5, rel=1e-14)
    # no way up to 0: nothing moves
    assert bound_of(stages([[[-1.0]]], slopes=[0]), stages([[[-0.1]]], slopes=[0]), [1.0]) == 0


def test_a_linear_network_is_telescoped_with_the_perturbed_norms():
    rng = np.random.default_rng(1)
    widths = [4, 5, 3, 2]
    W = [rng.normal(size=shape) for shape in zip(widths[1:], widths, strict=False)]
    V = [w + 0.1 * rng.normal(size=w.shape) for w in W]
    x = rng.normal(size=4)
    expected, h = 0.0, x
    for w, v in zip(W, V, strict=True):
        expected = np.linalg.norm(v, 2) * expected + np.linalg.norm((v - w) @ h)
        h = w @ h
    found = bound_of(stages(W, slopes=[1] * 3), stages(V, slopes=[1] * 3), x)
    assert found == pytest.approx(expected, rel=CLOSE)


@pytest.mark.parametrize("slope", [0.0, 0.2])
def test_units_far_from_their_kinks_leave_products_of_restricted_norms(slope):
    rng = np.random.default_rng(2)
    W = [rng.normal(size=(6, 4)), rng.normal(size=(5, 6)), rng.normal(size=(3, 5))]
    b = [100 * rng.choice([-1.0, 1.0], 6), 1e4 * rng.choice([-1.0, 1.0], 5), np.zeros(3)]
    V = [w + 1e-3 * rng.normal(size=w.shape) for w in W]
    x = rng.normal(size=4)
    expected, h, columns = 0.0, x, np.ones(4)
    for k, (w, v) in enumerate(zip(W, V, strict=True)):
        z = w @ h + b[k]
        gate = np.where(z > 0, 1.0, slope) if k < 2 else np.ones(3)
        D = np.diag(gate)
        expected = np.linalg.norm(D @ v * columns, 2) * expected + np.linalg.norm(D @ (v - w) @ h)
        columns, h = (gate > 0).astype(float), gate * z
    slopes = [slope, slope, 1]
    found = bound_of(stages(W, b, slopes=slopes), stages(V, b, slopes=slopes), x)
    # u = ΔW h is 1e5 times smaller than z, and W + ΔW was rounded
    assert found == pytest.approx(expected, rel=1e-9)


@given(seeds, st.booleans())
@settings(max_examples=250)
def test_never_below_the_change_in_exact_arithmetic(seed, residual):
    pair = drawn(seed, linear_end=seed % 2 == 0, examples=1, residual=residual)
    bound = float(pattern_bound(pair.perturbed)[0])
    assert Fraction(bound) ** 2 >= exact_square(pair)


def test_outward_rounding_is_what_keeps_one_layer_above_exact_arithmetic():
    """Here the bound is the change itself, so that a last bit too few would show."""
    for seed in range(100):
        rng = np.random.default_rng(seed)
        W, b = rng.normal(size=(2, 3, 5)), rng.normal(size=(2, 3))
        pair = Pair(
            stages([W[0]], [b[0]], slopes=[1]), stages([W[1]], [b[1]], slopes=[1]), rng.normal(size=(1, 5))
        )
        assert Fraction(float(pattern_bound(pair.perturbed)[0])) ** 2 >= exact_square(pair)


@pytest.mark.parametrize("shift", [0.0, -1.0])
def test_sums_that_cancel_are_covered(shift):
    """Where the exact argument is above 0 and its float is not, or what moves it is nothing but rounding."""
    below = 0
    for seed in range(150):
        pair = cancelling(seed, shift=shift)
        assert Fraction(float(pattern_bound(pair.perturbed)[0])) ** 2 >= exact_square(pair), seed
        floats = outputs(pair.after, pair.x) - outputs(pair.before, pair.x)
        below += Fraction(float(np.linalg.norm(floats))) ** 2 < exact_square(pair)
    assert below > 10  # floats alone would not do


def test_hundreds_of_networks_and_of_perturbations_towards_the_worst():
    """In floats, whose error is some ε times the network's own size, and far below 1e-9 of it."""
    closest = 0.0
    for seed in range(300):
        pair = drawn(seed, linear_end=seed % 3 > 0, residual=seed % 2 == 0)
        rng = np.random.default_rng(seed)
        for _ in range(2):  # climb: keep what comes closer to the bound
            f = outputs(pair.before, pair.x)
            change = np.linalg.norm(outputs(pair.after, pair.x) - f, axis=1)
            bound = pattern_bound(pair.perturbed)
            assert (change <= bound + 1e-9 * (1 + np.abs(f).max())).all(), seed
            ratio = np.divide(change, bound, where=bound > 1e-6, out=np.zeros_like(bound)).max()
            closest = max(closest, ratio)
            moved = [
                replace(
                    s, weight=s.weight + 0.1 * rng.normal(size=s.weight.shape) * np.abs(s.weight - o.weight)
                )
                for s, o in zip(pair.after, pair.before, strict=True)
            ]
            other = Pair(pair.before, moved, pair.x)
            moved_by = np.linalg.norm(outputs(moved, pair.x) - f, axis=1)
            again = pattern_bound(other.perturbed)
            if np.divide(moved_by, again, where=again > 1e-6, out=np.zeros_like(again)).max() > ratio:
                pair = other
    assert closest == pytest.approx(1.0, abs=1e-6)  # and it is attained


@given(seeds)
@settings(max_examples=100)
def test_never_above_the_residual_telescoped_bound(seed):
    """THEORY 20: e = (ι + ‖W̃‖) e + ‖ΔW h‖ + ‖Δb‖."""
    pair = drawn(seed, residual=True)
    h, e = pair.x, np.zeros(len(pair.x))
    for a, b in zip(pair.before, pair.after, strict=True):
        shift = np.linalg.norm(h @ (b.weight - a.weight).T, axis=1) + np.linalg.norm(b.bias - a.bias)
        e = (a.skip + np.linalg.norm(b.weight, 2)) * e + shift
        h = outputs([a], h)
    assert (pattern_bound(pair.perturbed) <= e * (1 + 1e-9) + 1e-12).all()


def test_a_block_whose_gates_are_certain_has_the_norm_of_the_sum():
    """Rows far above their kinks keep I + W̃, those far below I; W = −I leaves only what is shut."""
    W, b = [np.eye(3), -np.eye(3), np.eye(3)], [np.zeros(3), np.array([10.0, 10.0, -10.0]), np.zeros(3)]
    V = [W[0] + 1e-3 * np.ones((3, 3)), W[1], W[2]]
    x = np.array([1.0, 2.0, 3.0])
    parts = zip(W, b, (1, 0, 1), (False, True, False), strict=True)
    before = [Stage.of(w, c, slope=a, skip=skip) for w, c, a, skip in parts]
    parts = zip(V, b, (1, 0, 1), (False, True, False), strict=True)
    after = [Stage.of(w, c, slope=a, skip=skip) for w, c, a, skip in parts]
    u = 1e-3 * 6 * np.ones(3)
    # ‖I − diag(1, 1, 0)‖ = 1, and not 1 + ‖W‖ = 2
    assert bound_of(before, after, x) == pytest.approx(np.linalg.norm(u), rel=1e-11)


def test_a_block_at_its_kink_by_hand():
    """Z = 1 falls by 2 at most: the mean slope is between ½ and 1, and 1 + ΛW is at most |1 − ¾·1| + ¼."""
    before = [Stage.of([[1.0]], slope=1), Stage.of([[-1.0]], [2.0], slope=0, skip=True)]
    after = [Stage.of([[3.0]], slope=1), before[1]]
    assert bound_of(before, after, [1.0]) == pytest.approx(2 * (0.25 + 0.25), rel=1e-11)


@given(seeds)
@settings(max_examples=100)
def test_never_above_the_telescoped_bound(seed):
    pair = drawn(seed)
    h, responses = pair.x, []
    for a, b in zip(pair.before, pair.after, strict=True):
        responses.append(np.linalg.norm(h @ (b.weight - a.weight).T, axis=1))
        z = h @ a.weight.T + a.bias
        h = np.where(z > 0, z, a.slope * z)
    telescoped = 10.0 ** log10_telescoped_bound(
        np.stack(responses, axis=-1),
        perturbed_spectral_norms=[np.linalg.norm(s.weight, 2) for s in pair.after],
        betas=1.0,
        bias_changes=[np.linalg.norm(b.bias - a.bias) for a, b in zip(pair.before, pair.after, strict=True)],
    )
    # rounding of both: that of u is in proportion to |ΔW||h|, which cancellation in ΔW h may exceed
    assert (pattern_bound(pair.perturbed) <= telescoped * (1 + 1e-9) + 1e-12).all()


def test_no_perturbation_gives_zero_and_a_tiny_one_keeps_its_accuracy():
    pair = drawn(7, slopes=(0.0,))
    assert (pattern_bound(Pair(pair.before, pair.before, pair.x).perturbed) == 0).all()
    W, x = np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]])
    tiny = np.array([[2.0**-52, 0.0]])
    found = bound_of(stages([W], slopes=[1]), stages([W + tiny], slopes=[1]), x)
    assert found == pytest.approx(3 * 2.0**-52, rel=1e-13)


def test_what_overflows_bounds_nothing():
    W = np.full((2, 2), 1e200)
    found = bound_of(
        stages([W, W, W], slopes=[0, 0, 1]), stages([2 * W, 2 * W, 2 * W], slopes=[0, 0, 1]), [1.0, 1.0]
    )
    assert found == np.inf


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Stage.of([[1.0]], slope=-0.5), "slope -0.5"),
        (lambda: Stage.of([[np.nan]], slope=0), "NaN"),
        (lambda: Stage.of([1.0], slope=0), "two axes"),
        (lambda: Stage.of([[1.0]], [1.0, 2.0], slope=0), "bias"),
        (lambda: Stage.of([[1.0, 2.0]], slope=0, skip=True), "must be square"),
        (lambda: FrozenChain([], [[1.0]]), "at least one stage"),
        (lambda: FrozenChain(stages([[[1.0]]], slopes=[0]), [[1.0, 2.0]]), "is given 2 numbers"),
        (
            lambda: bound_of(stages([[[1.0]]], slopes=[0]), stages([[[1.0]]], slopes=[1]), [1.0]),
            "other shapes, activations or skips",
        ),
    ],
)
def test_bad_input_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()

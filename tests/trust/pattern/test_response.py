"""The linear response's bound and the loss's: closed forms, exact arithmetic, all along the way, under attack."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trust.pattern.networks import Pair, cancelling, drawn, exact_square, losses, outputs, seeds
from trust.norms import Array
from trust.pattern import FrozenChain, Stage, pattern_bound
from trust.response import loss_rise_bound, response_bound

ALONG = (1.0, 0.7, 0.3, 0.05, 1e-3)
"""Shares of the way at which the bounds are held against the network."""


def one_layer(seed: int) -> tuple[Pair, Array]:
    """A linear layer, and u = ΔW x + Δb."""
    rng = np.random.default_rng(seed)
    (W, V), (b, c), x = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 3)), rng.normal(size=(5, 4))
    pair = Pair([Stage.of(W, b, slope=1)], [Stage.of(V, c, slope=1)], x)
    return pair, x @ (V - W).T + c - b


def test_one_linear_layer_is_exact():
    pair, u = one_layer(0)
    assert np.allclose(response_bound(pair.perturbed), np.linalg.norm(u, axis=1), rtol=1e-13, atol=0)


def test_a_stable_pattern_leaves_the_remainder_of_a_linear_network():
    """Two linear layers: f̃ − f = W₂ΔW₁x + ΔW₂W₁x + ΔW₂ΔW₁x, the last of which is the remainder."""
    rng = np.random.default_rng(1)
    W, dW, x = (
        [rng.normal(size=(3, 3)) for _ in range(2)],
        [rng.normal(size=(3, 3)) for _ in range(2)],
        rng.normal(size=3),
    )
    before = [Stage.of(w, slope=1) for w in W]
    after = [Stage.of(w + d, slope=1) for w, d in zip(W, dW, strict=True)]
    linear = np.linalg.norm(W[1] @ dW[0] @ x + dW[1] @ W[0] @ x)
    remainder = np.linalg.norm(dW[1] @ dW[0] @ x)
    found = response_bound(FrozenChain(before, x[None]).perturbed(after))
    assert found == pytest.approx(linear + remainder, rel=1e-11)


def test_one_unit_at_its_kink():
    """Z = −1 moves by 2: all of the change, 1, is the kink's; from +1 down by 2 the response −2 meets a kink of 1."""
    chain = [Stage.of([[-1.0]], slope=0)]
    assert response_bound(
        FrozenChain(chain, [[1.0]]).perturbed([Stage.of([[1.0]], slope=0)])
    ) == pytest.approx(1.0, rel=1e-14)
    chain = [Stage.of([[1.0]], slope=0)]
    assert response_bound(
        FrozenChain(chain, [[1.0]]).perturbed([Stage.of([[-1.0]], slope=0)])
    ) == pytest.approx(3.0, rel=1e-14)


@pytest.mark.parametrize("residual", [False, True])
def test_its_ratio_to_the_change_goes_to_one(residual):
    pair = drawn(11, slopes=(0.0,), residual=residual)
    for t in (1e-2, 1e-4):
        near = Pair(pair.before, pair.partway(t), pair.x)
        change = np.linalg.norm(outputs(near.after, pair.x) - outputs(pair.before, pair.x), axis=1)
        found = response_bound(near.perturbed)
        some = change > 0
        assert np.allclose(found[some], change[some], rtol=30 * t)


@given(seeds, st.booleans())
@settings(max_examples=250)
def test_never_below_the_change_in_exact_arithmetic(seed, residual):
    pair = drawn(seed, linear_end=seed % 2 == 0, examples=1, residual=residual)
    assert Fraction(float(response_bound(pair.perturbed)[0])) ** 2 >= exact_square(pair)


def test_outward_rounding_is_what_keeps_one_layer_above_exact_arithmetic():
    for seed in range(60):
        pair, _ = one_layer(seed)
        assert Fraction(float(response_bound(pair.perturbed)[0])) ** 2 >= exact_square(pair)


@pytest.mark.parametrize("shift", [0.0, -1.0])
def test_sums_that_cancel_are_covered(shift):
    """Where the exact argument is above 0 and its float is not, or what moves it is nothing but rounding."""
    below = 0
    for seed in range(150):
        pair = cancelling(seed, shift=shift)
        assert Fraction(float(response_bound(pair.perturbed)[0])) ** 2 >= exact_square(pair), seed
        floats = outputs(pair.after, pair.x) - outputs(pair.before, pair.x)
        below += Fraction(float(np.linalg.norm(floats))) ** 2 < exact_square(pair)
    assert below > 10  # floats alone would not do


def test_hundreds_of_networks_all_along_the_way():
    """In floats, whose error is some ε times the network's size: far below 1e-9 of it."""
    rising = falling = 0
    for seed in range(500):
        pair = drawn(seed, residual=seed % 2 == 0)
        f = outputs(pair.before, pair.x)
        labels = np.random.default_rng(seed).integers(0, f.shape[1], len(f))
        perturbed = pair.perturbed
        bound, rise = response_bound(perturbed), loss_rise_bound(perturbed, labels)
        room = 1e-9 * (1 + np.abs(f).max())
        for t in ALONG:
            g = outputs(pair.partway(t), pair.x)
            assert (np.linalg.norm(g - f, axis=1) <= t * bound + room).all(), (seed, t)
            assert (losses(g, labels) - losses(f, labels) <= t * rise + room).all(), (seed, t)
        falling += int((rise < 0).sum())
        rising += int((rise >= 0).sum())
    assert falling > rising / 10  # the bound does certify descent


def test_the_loss_of_one_linear_layer_in_closed_form():
    """Here δ = u, so that the bound is ⟨g, u⟩ + min(¼‖u‖², ψ(√2‖u‖) uᵀHu, …), or √2‖u‖."""
    pair, u = one_layer(2)
    labels = np.array([0, 1, 2, 0, 1])
    f = outputs(pair.before, pair.x)
    p = np.exp(f) / np.exp(f).sum(1, keepdims=True)
    g = p - np.eye(3)[labels]
    size = np.linalg.norm(u, axis=1)
    variance = (p * u**2).sum(1) - (p * u).sum(1) ** 2
    omega = 2**0.5 * size
    curved = np.minimum(size**2 / 4, (np.exp(omega) - 1 - omega) / omega**2 * variance)
    expected = np.minimum((g * u).sum(1) + curved, omega)
    assert np.allclose(loss_rise_bound(pair.perturbed, labels), expected, rtol=1e-10)


def test_the_loss_is_covered_where_the_perturbation_is_all_rounding():
    """ΔW x cancels to some 1e-17, which floats get wrong altogether; forty digits tell by how much the loss rises."""

    def loss(weights: Array, x: Array) -> mpmath.mpf:
        f = [
            mpmath.fsum(mpmath.mpf(w) * mpmath.mpf(v) for w, v in zip(row, x, strict=True)) for row in weights
        ]
        return mpmath.log(mpmath.fsum(map(mpmath.exp, f))) - f[0]

    with mpmath.workdps(60):
        for seed in range(100):
            rng = np.random.default_rng(seed)
            W, dW, x = rng.normal(size=(3, 6)), rng.normal(size=(3, 6)), rng.normal(size=6)
            dW[:, -1] = -(dW[:, :-1] @ x[:-1]) / x[-1]
            pair = Pair([Stage.of(W, slope=1)], [Stage.of(W + dW, slope=1)], x[None])
            rise = loss((W + dW).tolist(), x.tolist()) - loss(W.tolist(), x.tolist())
            assert rise <= float(loss_rise_bound(pair.perturbed, np.array([0]))[0]), seed


@pytest.mark.parametrize("residual", [False, True])
def test_the_slope_of_the_loss_is_what_remains_of_a_small_step(residual):
    pair = drawn(5, slopes=(0.1,), residual=residual)
    labels = np.zeros(len(pair.x), dtype=int)
    t, f = 1e-6, outputs(pair.before, pair.x)
    rise = losses(outputs(pair.partway(t), pair.x), labels) - losses(f, labels)
    found = loss_rise_bound(Pair(pair.before, pair.partway(t), pair.x).perturbed, labels)
    assert np.allclose(found, rise, rtol=1e-3, atol=1e-9)


def test_a_label_with_enough_margin_survives_every_attack():
    """Ascent on the loss of the network's own label, over all ΔW of a size: it stays where √2 times a bound is less."""
    torch = pytest.importorskip("torch")
    certified = kept = total = 0
    for seed in range(12):
        pair = drawn(seed + 100, slopes=(0.0, 0.1), examples=6, residual=seed % 2 == 0)
        if pair.before[-1].weight.shape[0] < 2:
            continue
        f = outputs(pair.before, pair.x)
        label = f.argmax(1)
        margin = f.max(1) - np.sort(f, axis=1)[:, -2]
        weights = [torch.tensor(s.weight) for s in pair.before]
        for size in (1e-3, 1e-2, 1e-1):
            steps = [torch.zeros_like(w) for w in weights]
            for _ in range(6):
                leaves = [s.clone().requires_grad_(True) for s in steps]
                h = torch.tensor(pair.x)
                for w, s, stage in zip(weights, leaves, pair.before, strict=True):
                    z = h @ (w + s).T + torch.tensor(stage.bias)
                    moved = torch.where(z > 0, z, stage.slope * z)
                    h = h + moved if stage.skip else moved
                torch.nn.functional.cross_entropy(h, torch.tensor(label)).backward()
                steps = [leaf.grad for leaf in leaves]
                steps = [
                    g * (size * w.norm() / g.norm().clamp(min=1e-30))
                    for g, w in zip(steps, weights, strict=True)
                ]
                after = [
                    replace(s, weight=s.weight + d.numpy()) for s, d in zip(pair.before, steps, strict=True)
                ]
                perturbed = Pair(pair.before, after, pair.x).perturbed
                best = np.minimum(pattern_bound(perturbed), response_bound(perturbed))
                same = outputs(after, pair.x).argmax(1) == label
                sure = margin > 2**0.5 * best
                assert same[sure].all(), (seed, size)
                certified, kept, total = certified + sure.sum(), kept + same.sum(), total + same.size
    assert total / 4 < certified < kept < total  # some are certified, and some do change


def test_no_perturbation_gives_zero():
    pair = drawn(7, slopes=(0.0,))
    still = Pair(pair.before, pair.before, pair.x).perturbed
    assert (response_bound(still) == 0).all()
    assert (loss_rise_bound(still, np.zeros(len(pair.x), dtype=int)) == 0).all()


def test_a_preactivation_of_exactly_zero_counts_as_either_side():
    """H = φ(0 + t) from z = 0: the whole of it may be the kink's, whichever gate backpropagation takes."""
    chain = FrozenChain([Stage.of([[1.0]], [-1.0], slope=0)], [[1.0]])
    for shift in (1.0, -1.0):
        found = response_bound(chain.perturbed([Stage.of([[1.0]], [-1.0 + shift], slope=0)]))
        assert max(shift, 0.0) <= found[0] <= 1 + 1e-12


def test_what_overflows_bounds_nothing():
    W = np.full((2, 2), 1e200)
    chain = FrozenChain([Stage.of(W, slope=a) for a in (0, 0, 1)], [[1.0, 1.0]])
    perturbed = chain.perturbed([Stage.of(2 * W, slope=a) for a in (0, 0, 1)])
    assert response_bound(perturbed) == np.inf
    assert loss_rise_bound(perturbed, np.array([0])) == np.inf


def test_bad_input_is_refused():
    pair, _ = one_layer(0)
    with pytest.raises(ValueError, match="5 classes from 0 to 2"):
        loss_rise_bound(pair.perturbed, np.array([0, 1, 2, 3, 0]))
    relu = FrozenChain([Stage.of([[1.0]], slope=0)], [[1.0]])
    with pytest.raises(ValueError, match="last stage must be linear"):
        loss_rise_bound(relu.perturbed([Stage.of([[2.0]], slope=0)]), np.array([0]))

"""Residual bounds: closed forms, the plain bounds without shortcuts, and never below the change of random networks."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trust import activation, log10_spectral_product_bound, log10_telescoped_bound, transmission
from trust.residual_bounds import (
    log10_residual_spectral_bound,
    log10_residual_telescoped_bound,
    log10_structure_lipschitz,
    log10_structure_spectral_bound,
    log10_structure_telescoped_bound,
)
from trust.structure import Step, Structure

Array = Any
RNG = np.random.default_rng(0)


def blocks(names: list[str], phi: str, skips: list[bool]) -> Structure:
    steps = [Step("input")]
    for name, skip in zip(names, skips, strict=True):
        start = len(steps) - 1
        steps += [Step("weight", (start,), name), Step("activation", (start + 1,), phi)]
        steps += [Step("sum", (start, start + 2))] if skip else []
    return Structure(tuple(steps))


@pytest.mark.parametrize("depth", [1, 3, 40])
def test_multiples_of_the_identity_attain_both(depth: int) -> None:
    """W_k = cI, ΔW_k = ηW_k, φ = identity: f̃ − f = [(1 + c(1 + η))^L − (1 + c)^L] x."""
    c, eta, x = 0.7, 1e-3, 2.5
    layers = np.full(depth, c)
    exact = x * (1 + c) ** depth * np.expm1(depth * np.log1p(eta * c / (1 + c)))
    found = log10_residual_spectral_bound(eta * layers, spectral_norms=layers, betas=1.0, input_norm=x)
    assert found == pytest.approx(np.log10(exact), abs=1e-12)
    responses = eta * c * x * (1 + c) ** np.arange(depth)
    found = log10_residual_telescoped_bound(responses, perturbed_spectral_norms=(1 + eta) * layers, betas=1.0)
    assert found == pytest.approx(np.log10(exact), abs=1e-12)
    structure = blocks([f"{k}" for k in range(depth)], "identity", [True] * depth)
    found = log10_structure_spectral_bound(structure, eta * layers, norms=layers, input_norm=x)
    assert found == pytest.approx(np.log10(exact), abs=1e-12)


def test_without_shortcuts_they_are_the_plain_bounds() -> None:
    d, w = RNG.uniform(0, 0.1, (50, 6)), RNG.uniform(0.5, 2, (50, 6))
    beta, x = RNG.uniform(0.5, 1.5, 6), RNG.uniform(1, 2, 50)
    plain = log10_spectral_product_bound(d, spectral_norms=w, betas=beta, input_norm=x)
    found = log10_residual_spectral_bound(d, spectral_norms=w, betas=beta, input_norm=x, shortcuts=0.0)
    np.testing.assert_allclose(found, plain, rtol=0, atol=1e-12)
    plain = log10_telescoped_bound(d, perturbed_spectral_norms=w, betas=beta)
    found = log10_residual_telescoped_bound(d, perturbed_spectral_norms=w, betas=beta, shortcuts=0.0)
    np.testing.assert_allclose(found, plain, rtol=0, atol=1e-12)
    structure = blocks(list("abcdef"), "silu", [False] * 6)
    found = log10_structure_telescoped_bound(structure, d, perturbed_norms=w)
    plain = log10_telescoped_bound(d, perturbed_spectral_norms=w, betas=transmission("silu").beta)
    np.testing.assert_allclose(found, plain, rtol=0, atol=1e-12)


def test_blocks_as_a_structure_are_the_same() -> None:
    skips = [True, False, True, True]
    d, w = RNG.uniform(0, 0.1, (20, 4)), RNG.uniform(0.5, 2, (20, 4))
    structure, beta = blocks(list("abcd"), "gelu", skips), transmission("gelu").beta
    more: Any = {"betas": beta, "shortcuts": np.array(skips, float)}
    np.testing.assert_allclose(
        log10_structure_telescoped_bound(structure, d, perturbed_norms=w),
        log10_residual_telescoped_bound(d, perturbed_spectral_norms=w, **more),
        atol=1e-12,
    )
    np.testing.assert_allclose(
        log10_structure_spectral_bound(structure, d, norms=w, input_norm=3.0),
        log10_residual_spectral_bound(d, spectral_norms=w, input_norm=3.0, **more),
        atol=1e-12,
    )


def test_conventions_at_zero_and_infinity() -> None:
    w = [1.0, np.inf, 1.0]
    for shortcuts in (0.0, 1.0):
        none = log10_residual_telescoped_bound(
            [0.0] * 3, perturbed_spectral_norms=w, betas=1.0, shortcuts=shortcuts
        )
        assert none == -np.inf
        late = log10_residual_telescoped_bound(
            [0.0, 0.0, 1.0], perturbed_spectral_norms=w, betas=1.0, shortcuts=shortcuts
        )
        assert late == np.inf  # an infinite factor beside a factor of 0: nothing is claimed
    tiny = log10_residual_telescoped_bound([1e-300] * 2, perturbed_spectral_norms=[1e-300] * 2, betas=1.0)
    assert tiny == pytest.approx(-300 + np.log10(2), abs=1e-12)
    unknown = Structure((Step("input"), Step("weight", (0,), "a"), Step("other", (1,), "?")))
    assert log10_structure_telescoped_bound(unknown, [1.0], perturbed_norms=[1.0]) == np.inf
    assert log10_structure_telescoped_bound(unknown, [0.0], perturbed_norms=[1.0]) == -np.inf


def test_refusals() -> None:
    with pytest.raises(ValueError, match="layers"):
        log10_residual_telescoped_bound([1.0, 1.0], perturbed_spectral_norms=[1.0] * 3, betas=1.0)
    with pytest.raises(ValueError, match="negative"):
        log10_residual_spectral_bound([-1.0], spectral_norms=1.0, betas=1.0, input_norm=1.0)
    with pytest.raises(ValueError, match="NaN"):
        log10_residual_telescoped_bound([1.0], perturbed_spectral_norms=np.nan, betas=1.0)
    twice = Structure((Step("input"), Step("weight", (0,), "a"), Step("weight", (1,), "a")))
    with pytest.raises(ValueError, match="used once"):
        log10_structure_telescoped_bound(twice, [1.0, 1.0], perturbed_norms=[1.0, 1.0])
    with pytest.raises(ValueError, match="2 stages"):
        log10_structure_telescoped_bound(
            blocks(["a", "b"], "relu", [True, True]), [1.0], perturbed_norms=[1.0]
        )


ACTIVATIONS = ("relu", "leaky_relu:0.2", "leaky_relu:2", "tanh", "gelu", "identity")
COUNT = 50
"""Networks of one form that are drawn at once."""


def draw(
    rng: np.random.Generator, widths: list[int], size: float, *, biases: bool
) -> tuple[list[Array], list[Array]]:
    """Weights (networks, out, in) of spectral norms near ``size``, some of them with one large singular value."""
    weights = []
    for fan_in, fan_out in pairwise(widths):
        W = rng.standard_normal((COUNT, fan_out, fan_in))
        spike = rng.standard_normal((COUNT, fan_out, 1)) * rng.standard_normal((COUNT, 1, fan_in))
        W += rng.choice([0.0, 3.0], (COUNT, 1, 1)) * spike
        weights.append(size * W / top(W)[:, None, None])
    return weights, [biases * rng.standard_normal((COUNT, width)) for width in widths[1:]]


def top(W: Array) -> Array:
    return np.linalg.norm(W, ord=2, axis=(1, 2))


def times(W: Array, h: Array) -> Array:
    return np.einsum("nij,nj->ni", W, h)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    widths=st.lists(st.sampled_from([1, 2, 4, 4, 4]), min_size=2, max_size=6),
    phi=st.sampled_from(ACTIVATIONS),
    size=st.sampled_from([0.1, 1.0, 3.0]),
    step=st.sampled_from([1e-4, 1e-2, 1.0]),
    kind=st.sampled_from(["random", "against", "along"]),
    biases=st.booleans(),
)
def test_never_below_the_change(
    seed: int, widths: list[int], phi: str, size: float, step: float, kind: str, biases: bool
) -> None:
    """60 forms of 50 networks.

    ``against`` adds to each layer's difference the most that a step of its size can; ``along`` makes every weight
    larger, which is the worst for linear networks.
    """
    rng, f, beta = np.random.default_rng(seed), activation(phi).function, transmission(phi).beta
    zero = activation(phi).zero_at_zero
    W, b = draw(rng, widths, size, biases=biases)
    x = h = g = rng.standard_normal((COUNT, widths[0]))
    skips = [n == m for n, m in pairwise(widths)]
    responses, norms, changes = [], [], []
    for k, skip in enumerate(skips):
        z = times(W[k], h) + b[k]
        if kind == "random":
            dW = rng.standard_normal(W[k].shape)
        elif kind == "along":
            dW = W[k]
        else:
            v = times(W[k], g - h) + 1e-30 * rng.standard_normal(z.shape)
            dW = (v / np.linalg.norm(v, axis=1)[:, None])[:, :, None] * g[:, None, :]
        dW = step * size * dW / np.maximum(top(dW), 1e-300)[:, None, None]
        db = step * biases * rng.standard_normal(b[k].shape)
        responses.append(np.linalg.norm(times(dW, h) + db, axis=1))
        norms.append(top(W[k] + dW))
        changes.append(top(dW))
        g = g + f(times(W[k] + dW, g) + b[k] + db) if skip else f(times(W[k] + dW, g) + b[k] + db)
        h = h + f(z) if skip else f(z)
    measured = np.linalg.norm(g - h, axis=1)
    shortcuts = np.array(skips, float)
    bound = log10_residual_telescoped_bound(
        np.stack(responses, -1), perturbed_spectral_norms=np.stack(norms, -1), betas=beta, shortcuts=shortcuts
    )
    # rounding: each of two networks errs by at most 4 ε(4 + 2) a layer relative to the largest state
    noise = (
        200
        * 2.0**-52
        * (np.linalg.norm(h, axis=1) + np.linalg.norm(g, axis=1) + 1)
        * (1 + beta * size * 2) ** 5
    )
    assert (measured <= 10.0**bound * (1 + 1e-9) + noise).all()
    if not biases and zero:
        spectral = log10_residual_spectral_bound(
            np.stack(changes, -1),
            spectral_norms=np.stack([top(one) for one in W], -1),
            betas=beta,
            input_norm=np.linalg.norm(x, axis=1),
            shortcuts=shortcuts,
        )
        assert (bound <= spectral + 1e-9).all()
        assert (measured <= 10.0**spectral * (1 + 1e-9) + noise).all()


@settings(max_examples=60, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1), step=st.sampled_from([1e-4, 1e-2, 1.0]))
def test_never_below_the_change_whatever_the_steps(data: st.DataObject, seed: int, step: float) -> None:
    """Random steps of all kinds, with forks: 60 structures of 50 networks, without constants."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((COUNT, 3))
    steps, before, after = [Step("input")], [x], [x]
    responses, norms, changes, sizes = [], [], [], []
    for _ in range(data.draw(st.integers(1, 8))):
        kind = data.draw(st.sampled_from(["weight", "activation", "map", "sum", "join"]))
        k = data.draw(st.integers(max(0, len(steps) - 3), len(steps) - 1))
        h, g = before[k], after[k]
        if kind == "weight":
            W = rng.standard_normal((COUNT, data.draw(st.sampled_from([1, 3, 4])), h.shape[1]))
            dW = step * rng.standard_normal(W.shape)
            responses.append(np.linalg.norm(times(dW, h), axis=1))
            norms.append(top(W + dW))
            changes.append(top(dW))
            sizes.append(top(W))
            one, results = Step("weight", (k,), str(len(steps))), (times(W, h), times(W + dW, g))
        elif kind == "activation":
            name = data.draw(st.sampled_from(ACTIVATIONS))
            f = activation(name).function
            one, results = Step("activation", (k,), name), (f(h), f(g))
        elif kind == "map":
            one, results = Step("map", (k,), factor=0.5), (-h[:, ::-1] / 2, -g[:, ::-1] / 2)
        else:
            alike = [j for j in range(len(steps)) if before[j].shape == h.shape or kind == "join"]
            j = data.draw(st.sampled_from(alike))
            one = Step(kind, (k, j))
            results = (h + before[j], g + after[j]) if kind == "sum" else (
                np.concatenate([h, before[j]], axis=1), np.concatenate([g, after[j]], axis=1)
            )  # fmt: skip
        steps.append(one)
        before.append(np.asarray(results[0]))
        after.append(np.asarray(results[1]))
    if not responses:
        return
    structure = Structure(tuple(steps))
    measured = np.linalg.norm(after[-1] - before[-1], axis=1)
    telescoped = log10_structure_telescoped_bound(
        structure, np.stack(responses, -1), perturbed_norms=np.stack(norms, -1)
    )
    spectral = log10_structure_spectral_bound(
        structure, np.stack(changes, -1), norms=np.stack(sizes, -1), input_norm=np.linalg.norm(x, axis=1)
    )
    largest = max(np.abs(state).max() for state in (*before, *after))
    # each step errs by a few ε of its largest number; 8 steps, and gains of at most 10 behind each
    noise = 1e3 * 2.0**-52 * largest * 10.0**2
    assert (measured <= 10.0**telescoped * (1 + 1e-9) + noise).all()
    assert (telescoped <= spectral + 1e-9).all()


def test_the_lipschitz_constant_is_the_product_of_the_layers() -> None:
    norms = RNG.uniform(0.5, 2, (5, 3))
    plain = log10_structure_lipschitz(blocks(list("abc"), "tanh", [False] * 3), norms=norms)
    np.testing.assert_allclose(plain, np.log10(norms).sum(1), atol=1e-12)
    mixed = log10_structure_lipschitz(blocks(list("abc"), "tanh", [True, False, True]), norms=norms)
    np.testing.assert_allclose(
        mixed, np.log10((1 + norms[:, 0]) * norms[:, 1] * (1 + norms[:, 2])), atol=1e-12
    )
    unknown = Structure((Step("input"), Step("weight", (0,), "a"), Step("normalisation", (1,))))
    assert log10_structure_lipschitz(unknown, norms=[1.0]) == np.inf
    with pytest.raises(ValueError, match="1 stages"):
        log10_structure_lipschitz(unknown, norms=[1.0, 2.0])

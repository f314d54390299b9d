"""Small ReLU networks, whose paths can be listed one by one."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import strategies as st

from trust.paths import (
    log10_path_distance,
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

"""Small chains at random, and their change in exact arithmetic."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from hypothesis import strategies as st

from trust.norms import Array
from trust.pattern import FrozenChain, Perturbed, Stage


@dataclass
class Pair:
    """A chain before and after, and the inputs (examples, d_0)."""

    before: list[Stage]
    after: list[Stage]
    x: Array

    @property
    def perturbed(self) -> Perturbed:
        return FrozenChain(self.before, self.x).perturbed(self.after)

    def partway(self, t: float) -> list[Stage]:
        pairs = zip(self.before, self.after, strict=True)
        return [
            replace(a, weight=a.weight + t * (b.weight - a.weight), bias=a.bias + t * (b.bias - a.bias))
            for a, b in pairs
        ]


def outputs(stages: list[Stage], x: Array) -> Array:
    """The network in floats."""
    h = x
    for stage in stages:
        z = h @ stage.weight.T + stage.bias
        moved = np.where(z > 0, z, stage.slope * z)
        h = h + moved if stage.skip else moved
    return h


def exact_square(pair: Pair, example: int = 0) -> Fraction:
    """‖f̃(x) − f(x)‖² in rational numbers, of the very floats that the chain is made of."""
    ends = []
    for stages in (pair.before, pair.after):
        h = [Fraction(value) for value in pair.x[example].tolist()]
        for stage in stages:
            slope = Fraction(stage.slope)
            rows = zip(stage.weight.tolist(), stage.bias.tolist(), strict=True)
            z = [
                sum((Fraction(w) * v for w, v in zip(row, h, strict=True)), start=Fraction(bias))
                for row, bias in rows
            ]
            moved = [value if value > 0 else slope * value for value in z]
            h = [a + b for a, b in zip(h, moved, strict=True)] if stage.skip else moved
        ends.append(h)
    return sum(((b - a) ** 2 for a, b in zip(*ends, strict=True)), start=Fraction(0))


def cancelling(seed: int, *, shift: float = 0.0) -> Pair:
    """One ReLU unit whose argument, and what the perturbation does to it, are all rounding: sums that cancel."""
    rng = np.random.default_rng(seed)
    W, dW, x = rng.normal(size=(3, 6))
    W[-1] = -(W[:-1] @ x[:-1]) / x[-1]
    dW[-1] = -(dW[:-1] @ x[:-1]) / x[-1]
    before, after = [Stage.of(W[None], slope=0.0)], [Stage.of((W + dW)[None], [shift], slope=0.0)]
    return Pair(before, after, x[None])


def losses(f: Array, labels: np.ndarray) -> Array:
    """Cross-entropy of every example."""
    top = f.max(1, keepdims=True)
    return top[:, 0] + np.log(np.exp(f - top).sum(1)) - f[np.arange(len(f)), labels]


def drawn(
    seed: int,
    *,
    linear_end: bool = True,
    examples: int = 4,
    slopes: tuple[float, ...] = (),
    residual: bool = False,
) -> Pair:
    """A chain of 1 to 4 layers up to 6 wide, with a perturbation of any size: dense, of rank one, or of some layers.

    If residual, all but the first and the last layer are as wide as each other, and most of them blocks.
    """
    rng = np.random.default_rng(seed)
    depth = int(rng.integers(1, 5))
    widths = rng.integers(1, 7, depth + 1)
    if residual:
        depth += 1
        widths = np.array([widths[0], *[widths[-1]] * (depth - 1), 3])
    inner = float(rng.choice(slopes or (0.0, 0.0, 0.1, 0.5, 1.0)))
    kinds = [inner] * (depth - 1) + [1.0 if linear_end else inner]
    size = 10.0 ** rng.uniform(-6, 0.5)
    before, after = [], []
    for rows, columns, slope in zip(widths[1:], widths[:-1], kinds, strict=True):
        W = rng.normal(size=(rows, columns)) * rng.choice([0.5, 1.0, 2.0])
        b = rng.normal(size=rows) * rng.choice([0.0, 0.5])
        dW = np.outer(rng.normal(size=rows), rng.normal(size=columns))
        if rng.random() < 0.5:
            dW = rng.normal(size=W.shape)
        moved, shifted = rng.random() < 0.8, rng.choice([0, 1])
        skip = bool(residual and rows == columns and rng.random() < 0.8)
        before.append(Stage.of(W, b, slope=slope, skip=skip))
        W, b = W + size * moved * dW, b + size * rng.normal(size=rows) * shifted
        after.append(Stage.of(W, b, slope=slope, skip=skip))
    return Pair(before, after, rng.normal(size=(examples, int(widths[0]))))


seeds = st.integers(0, 2**32 - 1)

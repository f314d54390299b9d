"""Where the search starts: random networks, and the structures at which bounds tend to break."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["Start", "starts"]

Array = npt.NDArray[np.float64]
Start = dict[str, list[Array]]
"""``weights``, ``directions``, ``sizes``, ``biases``, ``bias_changes``, and of one entry ``x``, ``input_change``,
``target``: ΔW_k is size_k times direction_k."""


def starts(rng: np.random.Generator, widths: Sequence[int], count: int, *, biases: bool) -> Start:
    """Starting points for ``count`` networks, each list's arrays stacked with the network in front."""
    singles = [_one(rng, widths, biases=biases) for _ in range(count)]
    return {
        name: [np.stack([single[name][k] for single in singles]) for k in range(len(singles[0][name]))]
        for name in singles[0]
    }


def _one(rng: np.random.Generator, widths: Sequence[int], *, biases: bool) -> Start:
    shapes = list(zip(widths[1:], widths[:-1], strict=True))
    kind = int(rng.integers(4))
    weights = [_weight(rng, shape, kind) for shape in shapes]
    moves = int(rng.integers(5))
    directions = [_direction(rng, W, moves) for W in weights]
    size = 10.0 ** rng.uniform(-3, 0.5)
    sizes = np.full(len(shapes), size) * 10.0 ** rng.uniform(-0.5, 0.5, len(shapes))
    if len(shapes) > 1 and rng.random() < 0.4:  # a single layer moves
        sizes[np.arange(len(shapes)) != rng.integers(len(shapes))] = 0.0
    if rng.random() < 0.3:  # all by the same relative amount
        sizes[sizes > 0] = size
    x = _input(rng, weights, size)
    offsets = [rng.standard_normal(rows) * biases for rows, _ in shapes]
    shifts = [size * rng.standard_normal(rows) * biases * (rng.random() < 0.7) for rows, _ in shapes]
    step = rng.standard_normal(widths[0])
    return {
        "weights": weights,
        "directions": directions,
        "sizes": [np.array(value) for value in sizes],
        "biases": offsets,
        "bias_changes": shifts,
        "x": [x],
        "input_change": [10.0 ** rng.uniform(-3, 0.5) * step],
        "target": [rng.standard_normal(widths[-1]) * 10.0 ** rng.uniform(-1, 0.5)],
    }


def _weight(rng: np.random.Generator, shape: tuple[int, int], kind: int) -> Array:
    """Gaussian, orthogonal (κ = 1), of small whole numbers, or with one singular value nearly 0."""
    noise = rng.standard_normal(shape)
    U, values, Vt = np.linalg.svd(noise, full_matrices=False)
    if kind == 0:
        return noise
    if kind == 1:
        identity = np.eye(*shape) * rng.choice([-1.0, 1.0], size=shape[1])
        return identity if rng.random() < 0.5 else np.asarray(U @ Vt)
    if kind == 2:
        whole = rng.integers(-2, 3, shape).astype(np.float64)
        return whole + 0.01 * noise
    values[-1] *= 10.0 ** -rng.uniform(0, 3)
    return np.asarray((U * values) @ Vt)


def _direction(rng: np.random.Generator, W: Array, moves: int) -> Array:
    """Of W's norm: Gaussian, with κ = 1, a rotation's generator, nearly of rank one, or along W itself."""
    noise = rng.standard_normal(W.shape)
    U, values, Vt = np.linalg.svd(noise, full_matrices=False)
    if moves == 0:
        direction = noise
    elif moves == 1:
        direction = U @ Vt
    elif moves == 2 and W.shape[0] == W.shape[1] and len(W) > 1:
        direction = (noise - noise.T) @ W
    elif moves == 3:
        values[1:] *= 10.0 ** -rng.uniform(0, 4)
        direction = (U * values) @ Vt
    else:
        direction = rng.choice([-1.0, 1.0]) * W
    size = float(np.linalg.norm(direction))
    return np.asarray(direction / size * np.linalg.norm(W)) if size > 0 else noise


def _input(rng: np.random.Generator, weights: list[Array], size: float) -> Array:
    """Gaussian, what the first layer passes on worst or best, or with a unit of the first layer near its kink."""
    W = weights[0]
    x = rng.standard_normal(W.shape[1])
    kind = rng.integers(4)
    if kind == 1:
        x = np.linalg.svd(W)[2][-1] + size * rng.uniform(0, 1) * x
    elif kind == 2:
        x = np.linalg.svd(W)[2][0]
    elif kind == 3 and W.shape[1] > 1:
        row = W[rng.integers(len(W))]
        off = x - row * (row @ x) / max(float(row @ row), 1e-300)
        x = off + rng.uniform(-1, 1) * size * np.linalg.norm(x) * row / max(
            float(np.linalg.norm(row)), 1e-300
        )
    return np.asarray(x)

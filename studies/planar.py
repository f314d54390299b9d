"""Points of the plane in two classes: the circle, checkerboard, spiral and blobs of TensorFlow Playground."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

__all__ = ["PLANAR", "planar_points"]

Floats = npt.NDArray[np.float64]


def _circle(rng: np.random.Generator, side: Floats) -> Floats:
    """A disc of radius 0.5, and around it a ring from 0.7 to 1."""
    radius = np.where(side > 0, rng.uniform(0, 0.5, len(side)), rng.uniform(0.7, 1, len(side)))
    angle = rng.uniform(0, 2 * np.pi, len(side))
    return np.asarray(radius[:, None] * np.stack([np.sin(angle), np.cos(angle)], 1))


def _checkerboard(rng: np.random.Generator, side: Floats) -> Floats:
    """Two by two squares, with a gap of 0.12 between them."""
    sizes = rng.uniform(0.06, 1, (len(side), 2))
    first = rng.choice([-1.0, 1.0], len(side))
    return np.asarray(sizes * np.stack([first, first * side], 1))


def _spiral(rng: np.random.Generator, side: Floats) -> Floats:
    """Two arms of one and three quarter turns, half a turn apart, each coordinate off by 0.02 at most."""
    along = rng.uniform(0, 1, len(side))
    angle = 1.75 * 2 * np.pi * along + np.where(side > 0, 0, np.pi)
    off = rng.uniform(-0.02, 0.02, (len(side), 2))
    return np.asarray(0.98 * along[:, None] * np.stack([np.sin(angle), np.cos(angle)], 1) + off)


def _blobs(rng: np.random.Generator, side: Floats) -> Floats:
    """Gaussians of deviation 0.15 around ±(0.4, 0.4)."""
    return np.asarray(0.4 * side[:, None] + rng.normal(0, 0.15, (len(side), 2)))


PLANAR: dict[str, Callable[[np.random.Generator, Floats], Floats]] = {
    "circle": _circle,
    "checkerboard": _checkerboard,
    "spiral": _spiral,
    "blobs": _blobs,
}


def planar_points(name: str, count: int, seed: int) -> tuple[Floats, Floats]:
    """Points (count, 2), nearly all of them in [−1, 1]², and their classes ±1 (count,), half of each.

    Args:
        name: one of :data:`PLANAR`.
        count: how many.
        seed: the same points for the same one.
    """
    side = np.where(np.arange(count) % 2, 1.0, -1.0)
    return PLANAR[name](np.random.default_rng(seed), side), side

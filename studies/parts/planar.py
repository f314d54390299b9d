"""Points of the plane in two classes, as in TensorFlow Playground, and networks that tell them apart."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from probes.networks.perceptron import Perceptron, PerceptronSpec
from trust.optim import Fromage, agd_initialisation_

__all__ = ["PLANAR", "POINTS", "planar_network", "planar_points", "planar_tensors"]

Floats = npt.NDArray[np.float64]
POINTS = 500
"""That networks are trained on, and as many held out."""
_WIDTH, _BATCH = 16, 50
_RATE, _LAST = 0.03, 0.01
"""Of Fromage, which falls to this share of it."""


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


def planar_tensors(name: str, seed: int, *, held_out: bool = False) -> tuple[Tensor, Tensor]:
    """:data:`POINTS` points (n, 2) and their classes (n, 1), other ones where they are held out."""
    points, side = planar_points(name, POINTS, 2 * seed + held_out)
    return torch.from_numpy(points).float(), torch.from_numpy(side).float()[:, None]


def planar_network(name: str, *, depth: int, steps: int, seed: int) -> Perceptron:
    """A tanh network trained by Fromage on the square loss, from orthogonal weights.

    Args:
        name: of its points.
        depth: hidden layers.
        steps: of training.
        seed: of points, weights and batches.
    """
    widths = (2, *[_WIDTH] * depth, 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Perceptron(PerceptronSpec(widths, "tanh", biases=(True,) * (depth + 1)))
        for weight in network.parameters():
            if weight.ndim == 2:
                agd_initialisation_(weight)
    x, side = planar_tensors(name, seed)
    optimizer = Fromage(network.parameters(), lr=_RATE)
    falling = torch.optim.lr_scheduler.ExponentialLR(optimizer, _LAST ** (1 / steps))
    order = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randint(len(x), (_BATCH,), generator=order)
        loss = (network(x[rows]) - side[rows]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        falling.step()
    return network

"""Random plain chains h_k = φ(W_k h_{k−1} + b_k) with a perturbation, hard ones included."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trust import Transmission, activation, condition_number, relative_norm, singular_values, transmission
from trust.activations import Activation

Array = NDArray[np.float64]

# φ(x) = x + tanh(x)/2: smooth, φ(0) = 0, φ' = 1 + sech²(x)/2 in [1, 3/2], so its gates always move a little.
SMOOTH = Activation(
    name="smooth",
    function=lambda x: np.asarray(x) + np.tanh(np.asarray(x)) / 2,
    derivative=lambda x: 1 + 1 / np.cosh(np.asarray(x)) ** 2 / 2,
    zero_at_zero=True,
)
ACTIVATIONS: list[tuple[Activation, Transmission]] = [
    *(
        (activation(s), transmission(s))
        for s in ("identity", "leaky_relu:0.1", "leaky_relu:0.6", "leaky_relu:3")
    ),
    (SMOOTH, Transmission(1.0, 1.5)),
]

MAX_WIDTH, MAX_DEPTH = 8, 6
SMALLEST_DISTANCE = 1e-6
# Rounding in the measured change. A matrix-vector product errs by at most n ε ‖|W|‖₂‖h‖ ≤ n√n ε ‖W‖₂‖h‖, 23
# ε for n = 8; over 6 layers of two networks by 276 ε = 6.1e-14 times ‖x‖∏β‖W‖₂. Every bound here is at
# least that product over ‖f‖ times D ≥ 1e-6, so the error is at most 6.1e-8 of the bound: 2.7e-8 in log10.
# The singular values add ~κε·L.
LOG10_TOLERANCE = 1e-7


@dataclass(frozen=True)
class Chain:
    weights: list[Array]
    changes: list[Array]
    biases: list[Array]
    x: Array
    activation: Activation
    transmission: Transmission

    @property
    def relative(self) -> Array:
        return np.array([relative_norm(d, w) for w, d in zip(self.weights, self.changes, strict=True)])

    @property
    def kappa(self) -> float:
        """Over every W_k and every non-zero ΔW_k: less than the published κ, which covers W̃_k too."""
        moved = [d for d in self.changes if np.any(d)]
        return max(condition_number(matrix) for matrix in [*self.weights, *moved])

    def run(self, *, perturbed: bool) -> tuple[list[Array], Array]:
        """Each layer's gates φ'(z_k), and the output."""
        h, gates = self.x, []
        for W, dW, b in zip(self.weights, self.changes, self.biases, strict=True):
            z = (W + dW if perturbed else W) @ h + b
            gates.append(self.activation.derivative(z))
            h = self.activation.function(z)
        return gates, h

    def output_change(self) -> float:
        before, after = self.run(perturbed=False)[1], self.run(perturbed=True)[1]
        return relative_norm(after - before, before)

    def jacobian_change(self) -> tuple[float, Array]:
        """‖J̃_0 − J_0‖_F/‖J_0‖_F, and each layer's gate change s_k."""
        gates, gates_after = self.run(perturbed=False)[0], self.run(perturbed=True)[0]
        J = J_after = np.eye(self.x.size)
        for W, dW, g, g_after in zip(self.weights, self.changes, gates, gates_after, strict=True):
            J, J_after = g[:, None] * (W @ J), g_after[:, None] * ((W + dW) @ J_after)
        s = np.array([np.max(np.abs(b - a) / np.abs(a)) for a, b in zip(gates, gates_after, strict=True)])
        return relative_norm(J_after - J, J), s


def widths_of(rng: np.random.Generator, profile: str, depth: int) -> list[int]:
    widths = np.sort(rng.integers(1, MAX_WIDTH + 1, depth + 1))
    if profile == "growing":
        return list(widths)
    if profile == "shrinking":
        return list(widths[::-1])
    split = int(rng.integers(0, depth + 1))
    down, up = np.sort(rng.permutation(widths)[:split])[::-1], np.sort(rng.permutation(widths)[split:])
    valley = [*down, *up]
    return valley if profile == "valley" else [-int(w) + MAX_WIDTH + 1 for w in valley]  # else "hill"


def with_singular_values(rng: np.random.Generator, shape: tuple[int, int], values: Array) -> Array:
    U, _, Vt = np.linalg.svd(rng.standard_normal(shape), full_matrices=False)
    return np.asarray((U * values) @ Vt)


def random_weight(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    rank = min(shape)
    match rng.integers(3):
        case 0:
            return rng.standard_normal(shape)
        case 1:  # orthogonal, κ = 1
            return with_singular_values(rng, shape, np.full(rank, rng.uniform(0.5, 2)))
        case _:  # ill conditioned
            return with_singular_values(rng, shape, np.geomspace(1, 10 ** -rng.uniform(0, 3), rank))


def random_change(rng: np.random.Generator, W: Array) -> Array:
    rank = min(W.shape)
    match rng.integers(5):
        case 0:
            direction = rng.standard_normal(W.shape)
        case 1:
            direction = with_singular_values(rng, W.shape, np.ones(rank))
        case 2:  # near singular, as gradients are: one direction carries nearly all
            direction = with_singular_values(rng, W.shape, np.geomspace(1, 10 ** -rng.uniform(2, 4), rank))
        case 3:  # along W's own singular vectors, strongest where W is weakest
            U, values, Vt = np.linalg.svd(W, full_matrices=False)
            direction = (U * (values[-1] / values) ** rng.uniform(0, 1)) @ Vt
        case _:
            direction = rng.choice([-1.0, 1.0]) * W
    size = 10 ** rng.uniform(-4, 0.3)
    return np.asarray(size * np.linalg.norm(W) / np.linalg.norm(direction) * direction)


def random_chain(rng: np.random.Generator, *, profile: str, biases: bool = False) -> Chain:
    depth = int(rng.integers(1, MAX_DEPTH + 1))
    widths = widths_of(rng, profile, depth)
    weights = [random_weight(rng, (widths[k + 1], widths[k])) for k in range(depth)]
    changes = [random_change(rng, W) for W in weights]
    if rng.random() < 0.3:  # a single layer moves
        kept = int(rng.integers(depth))
        changes = [d if k == kept else np.zeros_like(d) for k, d in enumerate(changes)]
    phi, constants = ACTIVATIONS[int(rng.integers(len(ACTIVATIONS)))]
    if rng.random() < 0.5:
        x = rng.standard_normal(widths[0])
    else:  # what the first layer passes on worst, a little off the kink
        x = np.linalg.svd(weights[0])[2][-1] + 1e-3 * rng.standard_normal(widths[0])
    if not biases and rng.random() < 0.3:  # a unit of layer 1 on its kink, but for rounding
        row = weights[0][0]
        off = x - row * (row @ x) / (row @ row) * (1 - 1e-6)
        x = off if np.linalg.norm(off) > 1e-3 else x
    zero = [rng.standard_normal(w) if biases else np.zeros(w) for w in widths[1:]]
    return Chain(weights, changes, zero, x, phi, constants)


def layer_constants(chain: Chain) -> dict[str, Array]:
    """The layerwise bound's arguments."""
    values = [singular_values(W) for W in chain.weights]
    depth = len(values)
    return {
        "spectral_norms": np.array([v[0] for v in values]),
        "smallest_singular_values": np.array([v[-1] for v in values]),
        "perturbation_condition_numbers": np.array([condition_number(d) for d in chain.changes]),
        "alphas": np.full(depth, chain.transmission.alpha),
        "betas": np.full(depth, chain.transmission.beta),
    }


def log10_excess(measured: float, log10_bound: float) -> float:
    """log10(measured / bound): positive where the bound is broken; 0/0 is not."""
    if measured == 0:
        return -np.inf
    return float(np.log10(measured) - log10_bound) if log10_bound < np.inf else -np.inf

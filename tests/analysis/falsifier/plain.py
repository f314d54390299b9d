"""Every form's two sides and margins once more, in plain NumPy from the statement."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product as every
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from analysis.falsifier.numbers import Rationals

Array = npt.NDArray[np.float64]


@dataclass
class Plain:
    """One network, from the statements and nothing else."""

    W: list[Array]
    dW: list[Array]  # noqa: N815
    b: list[Array]
    db: list[Array]
    x: Array
    dx: Array
    y: Array
    slope: float | None

    def phi(self, z: float) -> float:
        if self.slope is None:
            return math.tanh(z)
        return z if z > 0 else self.slope * z

    def gate(self, z: float) -> float:
        if self.slope is None:
            return 1 - math.tanh(z) ** 2
        return 1.0 if z > 0 else self.slope

    def run(self, W: list[Array], b: list[Array], x: Array) -> tuple[list[Array], list[Array]]:
        """h_0…h_L and φ'(z_1)…φ'(z_L)."""
        h, gates = [x], []
        for matrix, offset in zip(W, b, strict=True):
            z = [
                float(sum(w * value for w, value in zip(row, h[-1], strict=True)) + o)
                for row, o in zip(matrix, offset, strict=True)
            ]
            h.append(np.array([self.phi(value) for value in z]))
            gates.append(np.array([self.gate(value) for value in z]))
        return h, gates

    @property
    def V(self) -> list[Array]:  # noqa: N802
        return [W + dW for W, dW in zip(self.W, self.dW, strict=True)]

    @property
    def L(self) -> int:  # noqa: N802
        return len(self.W)

    @property
    def f(self) -> Array:
        return self.run(self.W, self.b, self.x)[0][-1]

    @property
    def f_moved(self) -> Array:
        return self.run(self.V, [b + db for b, db in zip(self.b, self.db, strict=True)], self.x)[0][-1]

    @property
    def alpha(self) -> float:
        return 0.0 if self.slope is None else min(self.slope, 1.0)

    @property
    def beta(self) -> float:
        return 1.0 if self.slope is None else max(self.slope, 1.0)

    @property
    def r(self) -> list[float]:
        return [norm(dW) / norm(W) for W, dW in zip(self.W, self.dW, strict=True)]

    @property
    def rho(self) -> list[float]:
        return [top(dW) / top(W) for W, dW in zip(self.W, self.dW, strict=True)]

    def trust(self) -> float:
        return math.prod(1 + r for r in self.r) - 1

    def loss(self, W: list[Array]) -> float:
        return 0.5 * sum((self.run(W, self.b, self.x)[0][-1] - self.y) ** 2)

    def gradient(self, W: list[Array]) -> list[Array]:
        """By torch's own differentiation."""
        leaves = [torch.tensor(matrix, requires_grad=True) for matrix in W]
        h = torch.tensor(self.x)
        for matrix, offset in zip(leaves, self.b, strict=True):
            h = self.phi_torch(matrix @ h + torch.tensor(offset))
        loss = 0.5 * ((h - torch.tensor(self.y)) ** 2).sum()
        return [g.numpy() for g in torch.autograd.grad(loss, leaves)]

    def phi_torch(self, z: torch.Tensor) -> torch.Tensor:
        return torch.tanh(z) if self.slope is None else torch.nn.functional.leaky_relu(z, self.slope)

    def jacobian(self, W: list[Array], b: list[Array]) -> Array:
        def f(h: torch.Tensor) -> torch.Tensor:
            for matrix, offset in zip(W, b, strict=True):
                h = self.phi_torch(torch.tensor(matrix) @ h + torch.tensor(offset))
            return h

        found = torch.autograd.functional.jacobian(f, torch.tensor(self.x))
        return np.asarray(found)

    def jacobian_change(self) -> float:
        before = self.jacobian(self.W, self.b)
        after = self.jacobian(self.V, [b + db for b, db in zip(self.b, self.db, strict=True)])
        return norm(after - before) / norm(before)

    def tangent(self) -> Array:
        """∂_W f·ΔW, as the sum over the layers of what each alone would add."""
        h, gates = self.run(self.W, self.b, self.x)
        total = np.zeros(len(h[-1]))
        for k in range(self.L):
            v = gates[k] * (self.dW[k] @ h[k])
            for j in range(k + 1, self.L):
                v = gates[j] * (self.W[j] @ v)
            total = total + v
        return total

    def cosine(self) -> float:
        return min(
            -float((g * dW).sum()) / (norm(g) * norm(dW))
            for g, dW in zip(self.gradient(self.W), self.dW, strict=True)
        )

    def worst_turn(self, k: int) -> float:
        """The largest ‖g_k(W + tΔW) − g_k‖ on the grid of 17 t."""
        start = self.gradient(self.W)[k]
        return max(
            norm(self.gradient([W + t * dW for W, dW in zip(self.W, self.dW, strict=True)])[k] - start)
            for t in np.arange(17) / 16
        )


def norm(values: Array) -> float:
    return math.sqrt(float((values**2).sum()))


def top(matrix: Array) -> float:
    return float(np.linalg.svd(matrix, compute_uv=False)[0])


def bottom(matrix: Array) -> float:
    return float(np.linalg.svd(matrix, compute_uv=False)[-1])


def kappa(matrix: Array) -> float:
    return top(matrix) / bottom(matrix)


def _common_constant(p: Plain) -> float:
    largest = max(kappa(M) for M in [*p.W, *p.V, *p.dW])
    return (p.beta / p.alpha * largest**2) ** p.L


def _function(p: Plain) -> tuple[float, float]:
    return norm(p.f_moved - p.f) / norm(p.f), _common_constant(p) * p.trust()


def _layerwise(p: Plain) -> tuple[float, float]:
    constant = math.prod(p.beta * top(W) / (p.alpha * bottom(W)) for W in p.W)
    grown = math.prod(1 + kappa(dW) * r for dW, r in zip(p.dW, p.r, strict=True)) - 1
    return norm(p.f_moved - p.f) / norm(p.f), constant * grown


def _jacobian(p: Plain) -> tuple[float, float]:
    return p.jacobian_change(), _common_constant(p) * p.trust()


def _gated(p: Plain) -> tuple[float, float]:
    largest = max(kappa(M) for M in [*p.W, *p.dW])
    before = p.run(p.W, p.b, p.x)[1]
    after = p.run(p.V, [b + db for b, db in zip(p.b, p.db, strict=True)], p.x)[1]
    s = [max(abs(v - u) / u for u, v in zip(a, b, strict=True)) for a, b in zip(before, after, strict=True)]
    product = math.prod((1 + r) * (1 + g) for r, g in zip(p.r, s, strict=True))
    return p.jacobian_change(), (p.beta / p.alpha * largest**2) ** p.L * (product - 1)


def _breakdown(p: Plain) -> tuple[float, float]:
    before, after = p.gradient(p.W)[0], p.gradient(p.V)[0]
    return norm(after - before) / norm(before), p.trust()


def _lemma1(p: Plain) -> tuple[float, float]:
    slope = sum(float((g * dW).sum()) for g, dW in zip(p.gradient(p.W), p.dW, strict=True))
    bound = sum(norm(dW) * p.worst_turn(k) for k, dW in enumerate(p.dW))
    return p.loss(p.V) - p.loss(p.W) - slope, bound


def _loss(p: Plain) -> tuple[float, float]:
    return p.loss(p.V), p.loss(p.W)


def _turn(p: Plain, t: float) -> float:
    at = [W + t * dW for W, dW in zip(p.W, p.dW, strict=True)]
    return math.sqrt(sum(norm(a - b) ** 2 for a, b in zip(p.gradient(at), p.gradient(p.W), strict=True)))


def _euclidean(p: Plain) -> tuple[float, float]:
    return _turn(p, 1.0), max(_turn(p, t) / t for t in (1 / 8, 1 / 4, 1 / 2))


def _fitted_trust(p: Plain) -> tuple[float, float]:
    trusts = {t: math.prod(1 + t * r for r in p.r) - 1 for t in (1 / 8, 1 / 4, 1 / 2, 1.0)}
    return _turn(p, 1.0), max(_turn(p, t) / trusts[t] for t in (1 / 8, 1 / 4, 1 / 2)) * trusts[1.0]


def _slope(p: Plain, t: float) -> float:
    at = [W + t * dW for W, dW in zip(p.W, p.dW, strict=True)]
    return sum(float((g * dW).sum()) for g, dW in zip(p.gradient(at), p.dW, strict=True))


def _input(p: Plain) -> tuple[float, float]:
    moved = p.run(p.W, p.b, p.x + p.dx)[0][-1]
    return norm(moved - p.f), math.prod(p.beta * top(W) for W in p.W) * norm(p.dx)


def _spectral(p: Plain) -> tuple[float, float]:
    whole = norm(p.x) * math.prod(p.beta * top(W) for W in p.W)
    return norm(p.f_moved - p.f), whole * (math.prod(1 + rho for rho in p.rho) - 1)


def _neyshabur(p: Plain) -> tuple[float, float]:
    return norm(p.f_moved - p.f), math.e * norm(p.x) * math.prod(map(top, p.W)) * sum(p.rho)


def _telescoped(p: Plain) -> tuple[float, float]:
    h = p.run(p.W, p.b, p.x)[0]
    bound = sum(
        math.prod(p.beta * top(V) for V in p.V[k + 1 :]) * p.beta * (norm(p.dW[k] @ h[k]) + norm(p.db[k]))
        for k in range(p.L)
    )
    return norm(p.f_moved - p.f), bound


def _skipping(p: Plain, W: list[Array], b: list[Array]) -> list[Array]:
    """The states of the same layers, with a skip connection wherever the widths are equal."""
    states = [p.x]
    for matrix, bias in zip(W, b, strict=True):
        inside = np.array([p.phi(value) for value in matrix @ states[-1] + bias])
        states.append(inside + states[-1] if len(inside) == len(states[-1]) else inside)
    return states


def _residual_telescoped(p: Plain) -> tuple[float, float]:
    h, moved = _skipping(p, p.W, p.b), [b + db for b, db in zip(p.b, p.db, strict=True)]
    gains = [(V.shape[0] == V.shape[1]) + p.beta * top(V) for V in p.V]
    bound = sum(
        math.prod(gains[k + 1 :]) * p.beta * (norm(p.dW[k] @ h[k]) + norm(p.db[k])) for k in range(p.L)
    )
    return norm(_skipping(p, p.V, moved)[-1] - h[-1]), bound


def _residual_spectral(p: Plain) -> tuple[float, float]:
    skips = [W.shape[0] == W.shape[1] for W in p.W]
    before = [s + p.beta * top(W) for s, W in zip(skips, p.W, strict=True)]
    after = [s + p.beta * (top(W) + top(dW)) for s, W, dW in zip(skips, p.W, p.dW, strict=True)]
    change = norm(_skipping(p, p.V, p.b)[-1] - _skipping(p, p.W, p.b)[-1])
    return change, norm(p.x) * (math.prod(after) - math.prod(before))


def _pattern(p: Plain) -> tuple[float, float]:
    a = p.slope
    h = p.run(p.W, p.b, p.x)[0]
    e, active = 0.0, [True] * len(p.x)
    for k, (W, V) in enumerate(zip(p.W, p.V, strict=True)):
        z, u = W @ h[k] + p.b[k], p.dW[k] @ h[k] + p.db[k]
        D = []
        for i, row in enumerate(V):
            s = u[i] + norm(row[active]) * e
            D.append(1.0 if z[i] > 0 else a if z[i] + s <= 0 else a + (1 - a) * (z[i] + s) / s)
        e = (
            top(np.diag(D) @ V[:, active]) * e + norm(np.array(D) * u)
            if any(active)
            else norm(np.array(D) * u)
        )
        active = [a > 0 or slope > 0 for slope in D]
    return norm(p.f_moved - p.f), e


def _response(p: Plain) -> tuple[float, float]:
    a = p.slope
    h, gates = p.run(p.W, p.b, p.x)
    y, Q, P, nu = np.zeros(len(p.x)), np.zeros(len(p.x)), 0.0, 0.0
    given = [True] * len(p.x)
    for k, (W, dW) in enumerate(zip(p.W, p.dW, strict=True)):
        z, g, R = W @ h[k] + p.b[k], gates[k], P + nu
        linear, bent, through = W @ y + dW @ h[k] + p.db[k], dW @ y, abs(W) @ Q
        q, share, crossing = np.zeros(len(z)), np.zeros(len(z)), np.zeros(len(z))
        for i, row in enumerate(W):
            s = norm(row[given]) * P + min(through[i], norm(row) * nu) + norm(dW[i]) * R
            s += max(bent[i], 0) + linear[i] if z[i] <= 0 else max(-bent[i], 0) - linear[i]
            if s > abs(z[i]) and a != 1:
                q[i], crossing[i] = (1 - a) * (s - abs(z[i])), 1
                share[i] = q[i] / s
        P = (
            (top(np.diag(g) @ W[:, given]) if any(given) else 0.0) * P
            + min(norm(g * through), top(W) * nu)
            + norm(np.diag(g) @ dW) * R
            + norm(g * bent)
        )
        moved = norm(crossing * (abs(linear) + abs(bent))) + (top(W) + norm(dW)) * R
        Q, nu = q, min(norm(q), max(abs(share)) * moved)
        y, given = g * linear, [bool(slope > 0) for slope in g]
    return norm(p.f_moved - p.f), norm(y) + P + nu


def _paths(p: Plain, W: list[Array], b: list[Array]) -> list[float]:
    """The products along all paths, one by one; those of a bias start at its unit."""
    found = []
    widths = [len(p.x), *(len(matrix) for matrix in W)]
    for start in range(len(W) + 1):
        for units in every(*(range(width) for width in widths[start:])):
            value = 1.0 if start == 0 else b[start - 1][units[0]]
            for k in range(start, len(W)):
                value *= W[k][units[k - start + 1], units[k - start]]
            found.append(float(value))
    return found


def _path_bound(p: Plain, size: float) -> tuple[float, float]:
    return sum(abs(p.f_moved - p.f)), max(1.0, *map(abs, p.x)) * size


def _path_direct(p: Plain) -> tuple[float, float]:
    after = _paths(p, p.V, [b + db for b, db in zip(p.b, p.db, strict=True)])
    return _path_bound(p, sum(abs(u - v) for u, v in zip(_paths(p, p.W, p.b), after, strict=True)))


def _path(p: Plain) -> tuple[float, float]:
    def middle(a: Array, b: Array) -> Array:
        return np.where(a * b > 0, np.sign(a) * np.minimum(abs(a), abs(b)), 0.0)

    moved = [b + db for b, db in zip(p.b, p.db, strict=True)]
    m = [middle(W, V) for W, V in zip(p.W, p.V, strict=True)]
    c = [middle(b, v) for b, v in zip(p.b, moved, strict=True)]
    one, other, common = (sum(map(abs, _paths(p, *n))) for n in ((p.W, p.b), (p.V, moved), (m, c)))
    return _path_bound(p, one + other - 2 * common)


def _remainder(p: Plain) -> tuple[float, float]:
    excess = math.prod(1 + rho for rho in p.rho) - 1 - sum(p.rho)
    return norm(p.f_moved - p.f - p.tangent()), norm(p.x) * math.prod(map(top, p.W)) * excess


def _agd(p: Plain) -> tuple[float, float]:
    """The losses by their statement: means over the outputs, and a slope by the gradients."""
    outputs = len(p.y)
    scales = [math.sqrt(W.shape[0] / W.shape[1]) for W in p.W]
    eta = p.L * max(top(dW) / scale for dW, scale in zip(p.dW, scales, strict=True))
    slope = sum(float((g * dW).sum()) for g, dW in zip(p.gradient(p.W), p.dW, strict=True))
    rise = (p.loss(p.V) - p.loss(p.W) - slope) / outputs
    return rise, 0.5 * (math.exp(eta) - 1) ** 2


PLAIN: dict[str, Callable[[Plain], tuple[float, float]]] = {
    "theorem1-function": _function,
    "theorem1-function-injective": _function,
    "theorem1-function-layerwise": _layerwise,
    "theorem1-jacobian": _jacobian,
    "theorem1-jacobian-gated": _gated,
    "deep-relative-trust": _breakdown,
    "lemma1": _lemma1,
    "deep-relative-trust-fitted": _fitted_trust,
    "euclidean-trust": _euclidean,
    "slice-curvature": _loss,
    "lemma2-limit": _loss,
    "lemma2": _loss,
    "lemma2-with-constant": _loss,
    "input-sensitivity": _input,
    "spectral-product": _spectral,
    "neyshabur": _neyshabur,
    "telescoped": _telescoped,
    "pattern-telescoped": _pattern,
    "pattern-response": _response,
    "path-metric": _path_direct,
    "path-metric-midpoint": _path,
    "path-metric-direct": _path_direct,
    "linearisation-remainder": _remainder,
    "agd-majorisation": _agd,
    "residual-telescoped": _residual_telescoped,
    "residual-spectral": _residual_spectral,
}


def _limit(p: Plain, constant: float) -> float:
    """How far cos θ/C is above (1 + η)^L − 1."""
    return p.cosine() - constant * ((1 + max(p.r)) ** p.L - 1)


def _scaled(p: Plain) -> float:
    scales = [1 - top(W) / math.sqrt(W.shape[0] / W.shape[1]) for W in p.W]
    return min(*scales, math.sqrt(len(p.x)) - norm(p.x), math.sqrt(len(p.y)) - norm(p.y))


def _no_faster(p: Plain) -> float:
    return min(p.trust() * norm(g) - p.worst_turn(k) for k, g in enumerate(p.gradient(p.W)))


def _opposite(p: Plain) -> float:
    pairs = [*zip(p.W, p.V, strict=True), *((b, b + db) for b, db in zip(p.b, p.db, strict=True))]
    return -sum(float(np.where(a * c < 0, np.minimum(abs(a), abs(c)), 0.0).sum()) for a, c in pairs)


MARGINS: dict[str, dict[str, Callable[[Plain], float]]] = {
    "path-metric": {"equal signs": _opposite},
    "slice-curvature": {
        "descent direction": lambda p: -_slope(p, 0.0),
        "below the limit": lambda p: -2 * _slope(p, 0.0) - 100 * (_slope(p, 0.01) - _slope(p, 0.0)),
    },
    "lemma2-limit": {"descent direction": Plain.cosine, "step size": lambda p: _limit(p, 1.0)},
    "lemma2": {
        "descent direction": Plain.cosine,
        "step size": lambda p: _limit(p, 1.0),
        "no faster than D": _no_faster,
    },
    "lemma2-with-constant": {
        "descent direction": Plain.cosine,
        "step size": lambda p: _limit(p, _common_constant(p)),
    },
    "neyshabur": {"1-Lipschitz": lambda p: 1 - p.beta, "small ρ": lambda p: 1 - p.L * max(p.rho)},
    "agd-majorisation": {"1-Lipschitz": lambda p: 1 - p.beta, "scaled": _scaled},
    "pattern-telescoped": {"piecewise linear": lambda p: 1 - p.beta},
    "pattern-response": {"piecewise linear": lambda p: 1 - p.beta},
}


def _plain(numbers: Rationals) -> Plain:
    def floats(array: Any) -> Array:
        return np.asarray(array.astype(np.float64))

    slopes = {"identity": 1.0, "relu": 0.0, "leaky_relu:0.25": 0.25, "leaky_relu:1.5": 1.5, "tanh": None}
    return Plain(
        W=[floats(a) for a in numbers.weights],
        dW=[floats(a) for a in numbers.changes],
        b=[floats(a) for a in numbers.biases],
        db=[floats(a) for a in numbers.bias_changes],
        x=floats(numbers.x),
        dx=floats(numbers.input_change),
        y=floats(numbers.target),
        slope=slopes[numbers.activation],
    )

"""A witness's network in numbers of 200 bits, with nothing of the falsifier's."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import mpmath

MP = mpmath.MPContext()
MP.prec = 200


class Network:
    """A witness's numbers with 200 bits, and nothing of the falsifier's."""

    def __init__(self, document: dict[str, Any]) -> None:
        def vector(values: list[str]) -> Any:
            return MP.matrix([self.number(value) for value in values])

        def matrix(rows: list[list[str]]) -> Any:
            return MP.matrix([[self.number(value) for value in row] for row in rows])

        self.W = [matrix(rows) for rows in document["weights"]]
        self.dW = [matrix(rows) for rows in document["perturbation"]]
        self.V = [W + dW for W, dW in zip(self.W, self.dW, strict=True)]
        none = [["0"] * len(rows) for rows in document["weights"]]
        self.b = [vector(values) for values in document.get("biases", none)]
        moved = document.get("bias_perturbation", none)
        self.c = [b + vector(values) for b, values in zip(self.b, moved, strict=True)]
        self.x = vector(document["input"])
        self.y = vector(document["target"]) if "target" in document else None
        name, _, slope = document["activation"].partition(":")
        self.slope = {"identity": MP.mpf(1), "relu": MP.mpf(0)}.get(name) if not slope else self.number(slope)
        self.curved = name == "tanh"
        assert self.curved or self.slope is not None

    @staticmethod
    def number(text: str) -> Any:
        value = Fraction(text)
        return MP.mpf(value.numerator) / value.denominator

    def run(self, W: list[Any], b: list[Any]) -> tuple[list[Any], list[Any]]:
        h, gates = [self.x], []
        for matrix, offset in zip(W, b, strict=True):
            z = matrix * h[-1] + offset
            assert all(value != 0 for value in z) or self.y is None, "at a kink"
            if self.curved:
                h.append(MP.matrix([MP.tanh(value) for value in z]))
                gates.append(MP.diag([1 - MP.tanh(value) ** 2 for value in z]))
                continue
            h.append(MP.matrix([value if value > 0 else self.slope * value for value in z]))
            gates.append(MP.diag([1 if value > 0 else self.slope for value in z]))
        return h, gates

    def jacobian(self, W: list[Any], b: list[Any]) -> Any:
        product = MP.eye(len(self.x))
        for gate, matrix in zip(self.run(W, b)[1], W, strict=True):
            product = gate * matrix * product
        return product

    def loss(self, W: list[Any]) -> Any:
        return MP.norm(self.run(W, self.b)[0][-1] - self.y) ** 2 / 2

    def gradient(self, W: list[Any], k: int) -> Any:
        h, gates = self.run(W, self.b)
        back = h[-1] - self.y
        for j in reversed(range(len(W))):
            back = gates[j] * back
            if j == k:
                return back * h[j].T
            back = W[j].T * back
        raise AssertionError

    def at(self, t: Any) -> list[Any]:
        return [W + t * dW for W, dW in zip(self.W, self.dW, strict=True)]

    def turn(self, t: Any) -> Any:
        """‖g(W + tΔW) − g(W)‖ over all layers."""
        layers = range(len(self.W))
        return MP.sqrt(
            sum(size(self.gradient(self.at(t), k) - self.gradient(self.W, k)) ** 2 for k in layers)
        )

    def slope_at(self, t: Any) -> Any:
        gradients = [self.gradient(self.at(t), k) for k in range(len(self.W))]
        return sum(
            sum(a * b for a, b in zip(g, dW, strict=True)) for g, dW in zip(gradients, self.dW, strict=True)
        )

    def relative(self) -> list[Any]:
        return [size(dW) / size(W) for W, dW in zip(self.W, self.dW, strict=True)]

    def trust(self, t: Any = 1) -> Any:
        return MP.fprod(1 + t * r for r in self.relative()) - 1

    def constant(self) -> Any:
        """(βκ²/α)^L."""
        largest = max(condition(M) for M in [*self.W, *self.V, *self.dW])
        alpha, beta = min(self.slope, 1), max(self.slope, 1)
        return (beta / alpha * largest**2) ** len(self.W)

    def cosine(self) -> Any:
        pairs = [(self.gradient(self.W, k), dW) for k, dW in enumerate(self.dW) if size(dW) > 0]
        return min(-sum(a * b for a, b in zip(g, dW, strict=True)) / size(g) / size(dW) for g, dW in pairs)

    def paths(self, W: list[Any], b: list[Any]) -> list[Any]:
        """For each path its product, the last unit changing fastest."""
        found = [[[MP.mpf(1)] if i == j else [] for i in range(len(self.x))] for j in range(len(self.x))]
        into = [[value for part in unit for value in part] for unit in found]
        for matrix, offset in zip(W, b, strict=True):
            into = [
                [matrix[i, j] * value for j in range(matrix.cols) for value in into[j]] + [offset[i]]
                for i in range(matrix.rows)
            ]
        return [value for unit in into for value in unit]


def size(values: Any) -> Any:
    return MP.sqrt(MP.fsum(value**2 for value in values))


def condition(matrix: Any) -> Any:
    if size(matrix) == 0:
        return MP.mpf(1)
    values = sorted(MP.svd_r(matrix, compute_uv=False))
    return values[-1] / values[0]

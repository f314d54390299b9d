"""Trials in float64, many at once: tensors with the trial in front, through which gradients flow."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from analysis.falsifier.exact import slope_of
from trust.claims import Trial

__all__ = ["FloatTrial"]

_GRID = 17
"""Points on a step where a maximum along it is looked for."""


@dataclass
class FloatTrial(Trial):
    """A batch of small networks; every number is a tensor (trials,), every vector (trials, d)."""

    def phi(self, z: Tensor) -> Tensor:
        """φ, entry by entry."""
        slope = slope_of(self.activation)
        if slope is None:
            return torch.tanh(z)
        return torch.where(z > 0, z, float(slope) * z)

    def gate(self, z: Tensor) -> Tensor:
        """φ', entry by entry."""
        slope = slope_of(self.activation)
        if slope is None:
            return 1 - torch.tanh(z) ** 2
        return torch.where(z > 0, torch.ones_like(z), torch.full_like(z, float(slope)))

    def apply(self, matrix: Tensor, vector: Tensor) -> Tensor:
        """The product of a matrix and a vector."""
        return (matrix @ vector.unsqueeze(-1)).squeeze(-1)

    def compose(self, left: Tensor, right: Tensor) -> Tensor:
        """The product of two matrices."""
        return left @ right

    def transposed(self, matrix: Tensor) -> Tensor:
        """The transpose."""
        return matrix.transpose(-1, -2)

    def outer(self, left: Tensor, right: Tensor) -> Tensor:
        """The outer product."""
        return left.unsqueeze(-1) * right.unsqueeze(-2)

    def gated(self, gates: Tensor, matrix: Tensor) -> Tensor:
        """The matrix with its rows multiplied by the gates."""
        return gates.unsqueeze(-1) * matrix

    def inner(self, left: Tensor, right: Tensor) -> Tensor:
        """⟨·,·⟩."""
        return (left * right).flatten(1).sum(1)

    def norm(self, values: Tensor) -> Tensor:
        """√Σ·²."""
        norms: Tensor = torch.linalg.vector_norm(values.flatten(1), dim=1)
        return norms

    def norm1(self, vector: Tensor) -> Tensor:
        """Σ|·|."""
        return vector.abs().flatten(1).sum(1)

    def absolute(self, values: Tensor) -> Tensor:
        """|·|, entry by entry."""
        return values.abs()

    def common(self, left: Tensor, right: Tensor) -> Tensor:
        """The common sign with the smaller magnitude."""
        smaller = torch.where(left.abs() <= right.abs(), left, right)
        return torch.where(left * right > 0, smaller, torch.zeros_like(smaller))

    def roots(self, vector: Tensor) -> Tensor:
        """√, entry by entry; its slope at 0 is a large number."""
        return torch.sqrt(vector + 1e-300)

    def at_most(self, vector: Tensor) -> Tensor:
        """The numbers themselves."""
        return vector

    def spectral(self, matrix: Tensor) -> Tensor:
        """σ_max."""
        return _singular_values(matrix)[..., 0]

    def smallest(self, matrix: Tensor) -> Tensor:
        """σ_min."""
        return _singular_values(matrix)[..., -1]

    def maximum(self, *numbers: Tensor) -> Tensor:
        """The largest."""
        return torch.stack(torch.broadcast_tensors(*numbers)).amax(0)

    def largest(self, vector: Tensor) -> Tensor:
        """The largest |·|."""
        return vector.abs().amax(-1)

    def exp(self, number: Tensor) -> Tensor:
        """The exponential function."""
        return torch.exp(number)

    def growth(self, number: Tensor) -> Tensor:
        """The exponential function less 1."""
        return torch.expm1(number)

    def ones(self, vector: Tensor) -> Tensor:
        """Ones of the vector's shape."""
        return torch.ones_like(vector)

    def number(self, value: int) -> Tensor:
        """A whole number, once for each trial."""
        return torch.full((len(self.x),), float(value), dtype=torch.float64)

    def moves(self, change: Tensor) -> Tensor:
        """Whether a change is not zero."""
        return change.detach().flatten(1).abs().amax(1) > 0

    def either(self, flag: Tensor, yes: Tensor, no: Tensor) -> Tensor:
        """One of two numbers."""
        return torch.where(flag, yes, no)

    def along_step(self, function: Callable[[Any], Any]) -> Tensor:
        """The maximum over a grid of t in [0, 1]."""
        return self.maximum(*(function(k / (_GRID - 1)) for k in range(1, _GRID)))

    def rounding(self, magnitude: Tensor) -> Tensor:
        """Some tens of ε: a handful of operations on numbers of this size."""
        return 1e-14 * magnitude

    def times(self, number: Any, values: Tensor) -> Tensor:
        """A number times an array."""
        if isinstance(number, Tensor):
            return number.view(-1, *[1] * (values.ndim - 1)) * values
        return number * values

    def column(self, matrix: Tensor, place: int) -> Tensor:
        """One column."""
        return matrix[..., place]

    def entry(self, vector: Tensor, place: int) -> Tensor:
        """One entry."""
        return vector[..., place]

    def root(self, ratio: Fraction) -> Tensor:
        """The square root."""
        return torch.tensor(math.sqrt(ratio), dtype=torch.float64)


def _singular_values(matrix: Tensor) -> Tensor:
    """All of them, largest first; in closed form where there is one or two, which is several times faster."""
    rows, columns = matrix.shape[-2:]
    if min(rows, columns) == 1:
        norms: Tensor = torch.linalg.vector_norm(matrix.flatten(1), dim=1)
        return norms.unsqueeze(-1)
    if min(rows, columns) == 2:
        wide = matrix if rows <= columns else matrix.transpose(-1, -2)
        a, b = wide[..., 0, :], wide[..., 1, :]
        # σ₁ ± σ₂ from ‖M‖² ± 2|det|: |det| by the wedge product, so that σ₂ does not cancel
        size = (a * a).sum(-1) + (b * b).sum(-1)
        difference = (a * a).sum(-1) - (b * b).sum(-1)
        gap = torch.sqrt(difference**2 + 4 * (a * b).sum(-1) ** 2 + 1e-300)
        largest = torch.sqrt((size + gap) / 2)
        places = torch.combinations(torch.arange(wide.shape[-1]), 2)
        minors = a[..., places[:, 0]] * b[..., places[:, 1]] - a[..., places[:, 1]] * b[..., places[:, 0]]
        area = torch.linalg.vector_norm(minors, dim=-1)
        return torch.stack([largest, area / largest], dim=-1)
    values: Tensor = torch.linalg.svdvals(matrix)
    return values

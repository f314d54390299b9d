"""Matrices as an optimizer sees them that scales every coordinate, such as Adam."""

from __future__ import annotations

import torch
from torch import Tensor

from probes.checkpoints.adam import AdamState
from probes.errors import InputError
from probes.evaluation.curvature.operators import LossOperator, Operator

__all__ = ["Preconditioned", "adam_diagonal"]


class Preconditioned:
    """P^(−½) H P^(−½) of an operator H and a diagonal P, which has the eigenvalues of P⁻¹H."""

    def __init__(self, operator: Operator, diagonal: Tensor) -> None:
        """Take the matrix and P's diagonal (n,).

        Raises:
            InputError: it has another size, or an element that is not positive and finite.
        """
        if diagonal.shape != (operator.size,):
            raise InputError(f"preconditioner: has shape {tuple(diagonal.shape)}, not ({operator.size},)")
        if not bool((diagonal.isfinite() & (diagonal > 0)).all()):
            raise InputError("preconditioner: every element must be positive and finite")
        self.operator = operator
        self.size, self.share = operator.size, operator.share
        self.dtype, self.device = operator.dtype, operator.device
        self.scale = diagonal.to(self.device, torch.float64).rsqrt().to(self.dtype)

    def product(self, v: Tensor) -> Tensor:
        """The matrix times v (n,)."""
        scaled = self.scale * v.to(self.device, self.dtype)
        return self.scale * self.operator.product(scaled)


def adam_diagonal(state: AdamState, operator: LossOperator) -> Tensor:
    """Adam's preconditioner P = (1 − β₁^t)(√v̂ + ε) on an operator's tensors (n,), by which its edge is judged.

    Raises:
        InputError: a tensor has no second moment, or one of another shape.
    """
    parts = state.preconditioner()
    for name, shape in zip(operator.names, operator.shapes, strict=True):
        if name not in parts or parts[name].shape != shape:
            raise InputError(f"Adam's state: no second moment of {name} with its shape {tuple(shape)}")
    return torch.cat([parts[name].detach().reshape(-1) for name in operator.names])

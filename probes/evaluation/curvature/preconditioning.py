"""Matrices as an optimizer sees them that scales every coordinate, such as Adam."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from probes.errors import InputError
from probes.evaluation.curvature.operators import LossOperator, Operator

__all__ = ["AdamState", "Preconditioned", "adam_diagonal"]


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


def adam_diagonal(second: Tensor, *, epsilon: float, beta1: float, step: int) -> Tensor:
    """Adam's preconditioner P = (1 − β₁^t)(√v̂ + ε), by which the edge of stability is judged.

    Args:
        second: v̂, the second moment with its bias corrected, in any shape.
        epsilon: ε.
        beta1: β₁.
        step: t, the number of steps taken, at least 1.
    """
    return (1 - beta1**step) * (second.double().sqrt() + epsilon)


@dataclass(frozen=True)
class AdamState:
    """What Adam's preconditioner is made of.

    Attributes:
        second: v̂ by the parameters' names: the second moments with their bias corrected.
        epsilon: ε.
        beta1: β₁.
        step: t, the number of steps taken.
    """

    second: Mapping[str, Tensor]
    epsilon: float
    beta1: float
    step: int

    def diagonal(self, operator: LossOperator) -> Tensor:
        """P (n,) of an operator's tensors.

        Raises:
            InputError: a tensor has no second moment, or one of another shape, or no step was taken.
        """
        if self.step < 1:
            raise InputError("Adam's state: no step was taken yet")
        for name, shape in zip(operator.names, operator.shapes, strict=True):
            if name not in self.second or self.second[name].shape != shape:
                raise InputError(f"Adam's state: no second moment of {name} with its shape {tuple(shape)}")
        flat = torch.cat([self.second[name].detach().double().reshape(-1) for name in operator.names])
        return adam_diagonal(flat, epsilon=self.epsilon, beta1=self.beta1, step=self.step)

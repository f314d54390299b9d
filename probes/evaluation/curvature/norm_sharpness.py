"""The largest dᵀHd over a ball of another norm than the Euclidean: sharpness as other steepest descents feel it.

For the Euclidean norm it is λ_max. For others it is hard to find (for ℓ∞ NP-hard), so what is found is a lower bound:
the largest value at which an ascent ended, and a value that some d of the ball has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from probes.evaluation.curvature.operators import LossOperator, led

__all__ = ["norm_sharpness", "sign_step", "spectral_step"]

_STEPS = 30
"""Products of one ascent at most; most end after a few."""
_GAIN = 1e-4
"""An ascent ends where a product gains less, relatively."""

Step = Callable[[LossOperator, Tensor], Tensor]
"""Of an operator and a vector y (n,), the point of the ball where ⟨·, y⟩ is largest."""


def norm_sharpness(operator: LossOperator, step: Step, starts: Iterable[Tensor]) -> float:
    """A lower bound on max dᵀHd over the ball that ``step`` knows, by the iteration d ← step(Hd) from each start.

    Where H is positive semidefinite no iteration loses, since dᵀHd is convex (Boyd's power method for norms); else the
    best is kept.

    Returns:
        The number; NaN where a product is not finite.
    """

    def ascent(product: Callable[[Tensor], Tensor], start: Tensor) -> float:
        y, best = start, -math.inf
        for _ in range(_STEPS):
            if not bool(y.isfinite().all()):
                return math.nan
            d = step(operator, y)
            y = product(d)
            value = float(y.double() @ d.double())
            gain, best = value - best, max(best, value)
            if not gain > _GAIN * abs(value):
                break
        return best

    found = led(operator, lambda product: [ascent(product, start) for start in starts])
    return math.nan if any(map(math.isnan, found)) else max(found)


def sign_step(operator: LossOperator, y: Tensor) -> Tensor:
    """Of the ball ‖d‖∞ ≤ 1, signSGD's: the signs, +1 for 0."""
    return torch.where(y < 0, -1.0, 1.0).to(operator.device, operator.dtype)


def spectral_step(operator: LossOperator, y: Tensor) -> Tensor:
    """Of the ball ‖D_l‖₂ ≤ 1 for every tensor l read as a matrix (out, everything else), Muon's: the polar factors."""
    factors = {}
    for name, part in operator.unflatten(y).items():
        u, _, vh = torch.linalg.svd(
            part.reshape(len(part), -1) if part.ndim else part[None, None], full_matrices=False
        )
        factors[name] = u @ vh
    return operator.flatten(factors)

"""The largest singular value of W + ηd at many η: a bound at most 10⁻⁴ above it, for a few products with vectors.

A vector near the leading singular vector has a Rayleigh quotient θ and a residual ρ; if the second eigenvalue of W̃W̃ᵀ is
at most β < θ, the first is at most θ + ρ²/(θ − β) (Kato and Temple). Such a β comes for nothing: by Weyl's inequality
σ_2(W + ηd) ≤ min(σ_2(W) + ησ_1(d), σ_1(W) + ησ_2(d)). Where it is not small enough, as where weights and direction are
about equally large, all singular values are found.
"""

from __future__ import annotations

import contextlib
import math

import numpy as np
import torch
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh
from torch import Tensor

from probes.measures.operator_norms.singular_values import Spectrum, spectrum

__all__ = ["NormAlongLine"]

_OVERESTIMATE = 1e-4
_SMALLEST = 192  # below this smaller side all singular values are found as fast
_MOST_STEPS = 16  # of the power method: two products each, and all singular values take about a hundred
_HOPE = 3  # steps after which the Rayleigh quotient is not expected to grow any more
_START = 20200210  # of the search for the leading vectors, fixed: the same matrix has the same bound
_SAME = 1e-6  # below this distance both leading vectors are one
_UNIT = torch.finfo(torch.float64).eps / 2


class NormAlongLine:
    """‖W + ηd‖₂ for one matrix W and one direction d, from above."""

    def __init__(self, weight: Tensor, direction: Tensor, own: Spectrum, step: Spectrum) -> None:
        """Find the leading singular vectors of both.

        Args:
            weight: W (out, in), in any precision.
            direction: d, likewise.
            own: singular values of W.
            step: those of d.
        """
        self.own, self.step = own, step
        rows, columns = weight.flatten(1).shape
        self.turned = rows > columns
        known = min(rows, columns) >= _SMALLEST and math.isfinite(own.spectral_norm + step.spectral_norm)
        self.leading = (
            self._span([_leading(self._wide(one)) for one in (weight, direction)]) if known else None
        )

    def _wide(self, matrix: Tensor) -> Tensor:
        flat = matrix.detach().to(torch.float64).flatten(1)
        return flat.T if self.turned else flat

    def _span(self, vectors: list[Tensor]) -> Tensor:
        """An orthonormal basis (side, 2), or (side, 1) where both vectors are the same."""
        basis, mixed = torch.linalg.qr(torch.stack(vectors, dim=1))
        apart = abs(float(mixed[1, 1])) > _SAME
        found: Tensor = basis if apart else basis[:, :1]
        return found

    def at(self, moved: Tensor, eta: float, rest: float) -> float:
        """An upper bound on ‖W̃‖₂.

        Args:
            moved: W̃ (out, in) in float64.
            eta: η.
            rest: an upper bound on ‖W̃ − W − ηd‖₂, what rounding added.
        """
        low, high = self.own, self.step
        second = min(low.second + eta * high.spectral_norm, low.spectral_norm + eta * high.second) + rest
        found = None if self.leading is None else _bound(self._wide(moved), self.leading, second)
        return spectrum(moved).spectral_norm if found is None else found


def _leading(wide: Tensor) -> Tensor:
    """About the leading left singular vector; nothing is proved of it, and nothing need be."""
    array = wide.cpu().numpy()
    side = len(array)
    start = np.random.default_rng(_START).normal(size=side)
    scale = float(np.abs(array).max()) or 1.0
    operator = LinearOperator(
        (side, side), matvec=lambda v: array @ (array.T @ v) / scale / scale, dtype=array.dtype
    )
    with contextlib.suppress(
        ArpackError
    ):  # the largest are close to each other: there will be no proof either
        start = eigsh(operator, k=1, which="LA", v0=start, ncv=12, maxiter=2, tol=1e-2)[1][:, 0]
    return torch.from_numpy(start / np.linalg.norm(start)).to(wide.device)


def _bound(wide: Tensor, leading: Tensor, second: float) -> float | None:
    """σ_max of A (r, m), r ≤ m, from above, where it can be told from a bound on σ_2; else None.

    Rounding, u = ε / 2: an inner product of n terms errs by at most γ_n |a|ᵀ|b|, in any order, so fl(Aᵀy) by
    γ_r ‖A‖_F ‖y‖ and fl(A fl(Aᵀy)) by (γ_r + γ_m) ‖A‖_F² ‖y‖; the factor 1.01 covers γ_n against n u and all products
    of errors, and the factors (1 ± 8 u) what lengths of vectors of thousands of entries err by, summed in blocks.
    """
    side, length = wide.shape
    frobenius = float(torch.linalg.vector_norm(wide))
    whole = frobenius * frobenius * 1.01
    beta = second * second * (1 + 8 * _UNIT)
    moved = wide.T @ leading
    y = leading @ torch.linalg.eigh(moved.T @ moved)[1][:, -1]
    blur = 1.01 * side * _UNIT * math.sqrt(whole)
    rounding = 1.01 * (side + length + 8) * _UNIT * whole
    block = 1 + (side + length) * _UNIT
    for steps in range(_MOST_STEPS):
        z = wide.T @ y
        size, stretched = float(torch.linalg.vector_norm(y)), float(torch.linalg.vector_norm(z))
        high, low = (stretched / size + blur) * block, (stretched / size - blur) / block
        if not math.isfinite(high):
            return None
        product = wide @ z
        if not (low > 0 and low * low > beta):
            if steps == _HOPE:
                return None  # nor will it be: the quotient grows by little from here
            y = product / torch.linalg.vector_norm(product)
            continue
        quotient = (stretched / size) * (stretched / size)
        residual = float(torch.linalg.vector_norm(product - quotient * y)) / size * block + rounding
        bound = math.sqrt(high * high + residual * residual / (low * low - beta)) * (1 + 8 * _UNIT)
        if bound <= (1 + _OVERESTIMATE) * low:
            return bound
        y = product / torch.linalg.vector_norm(product)
    return None

"""The largest singular value of a matrix: exact where affordable, otherwise an upper bound, and rounded up."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.linalg import lapack
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh
from torch import Tensor

__all__ = ["EPS", "matrix_norm"]


LARGEST_EXACT = 4096  # up to this smaller side eigenvalues are found (at 2048 six times as fast as squaring)
SMALLEST_ITERATED = 256  # from this smaller side the largest singular value is looked for by itself
OVERESTIMATE = 1.01  # how far above σ_max repeated squaring may stop
BLOCK = 64  # terms of an inner product summed at once; the blocks' sums are added pairwise
EPS = torch.finfo(torch.float64).eps  # 2⁻⁵² = 2u


def _gram(matrix: Tensor) -> tuple[Tensor, float]:
    """G = A Aᵀ for A (r, m), and e with λ_max(A Aᵀ) ≤ λ_max(G) + e.

    An inner product of b terms in any order errs by at most γ_b |a|ᵀ|b| with γ_b ≈ b u, so that summing
    blocks of ``BLOCK`` terms pairwise gives |ΔG| ≤ γ_c |A||A|ᵀ with c = BLOCK + ⌈log₂(blocks)⌉ instead of m,
    and ‖ |A||A|ᵀ ‖₂ ≤ ‖A‖_F². (A term below the range of float64 is lost, against ‖A‖ ≥ ½.)
    """

    def summed(start: int, stop: int) -> Tensor:
        if stop - start <= BLOCK:
            piece = matrix[:, start:stop]
            return piece @ piece.T
        middle = start + BLOCK * math.ceil((stop - start) / BLOCK / 2)
        return summed(start, middle).add_(summed(middle, stop))

    length = matrix.shape[1]
    terms = min(BLOCK, length) + math.ceil(math.log2(math.ceil(length / BLOCK)))
    return summed(0, length), (terms + 1) * EPS / 2 * float(matrix.square().sum()) * 1.0001


def matrix_norm(matrix: Tensor) -> float:
    """σ_max of a matrix (m, n) with entries up to 1: exact to rounding, or at most 1 % above it.

    Rounding, with r the smaller side: the Gram matrix contributes at most (c + 1) u ‖A‖_F² ≤ (c + 1) u r σ²
    to λ_max (:func:`_gram`, c ≤ 64 + log₂(m / 64)), and LAPACK's symmetric eigenvalues are those of a matrix
    within p(r) ε λ_max, "p a modestly growing function", for which 4 r is allowed. The root halves both:
    the result is at most ½ (36 + 4) r ε = 20 r ε relative above σ, 4.6e-12 at 1024 × 1024. Trained weights and
    gradients mostly have one singular value above all others, which is found several times sooner.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    side = wide.shape[0]
    if SMALLEST_ITERATED <= side <= LARGEST_EXACT:
        separated = _separated_norm(wide.numpy())
        if separated is not None:
            return separated
    gram, excess = _gram(wide.contiguous())
    if side > LARGEST_EXACT:
        return math.sqrt(_by_squaring(gram) + excess) * (1 + 4 * EPS)
    top = float(torch.linalg.eigvalsh(gram)[-1])
    return math.sqrt(top * (1 + 4 * side * EPS) + excess) * (1 + 4 * EPS)


_START = 20200210  # of the iteration, fixed: the same matrix has the same norm
_APART = 0.05  # how far below λ₁ the second eigenvalue must be, to prove that λ₁ was found


def _separated_norm(wide: npt.NDArray[np.float64]) -> float | None:
    """σ_max of A (r, m), r ≤ m, entries up to 1: exact to rounding, or None where it does not stand out.

    Lanczos finds y with Rayleigh quotient θ = ‖Aᵀy‖² / ‖y‖² and residual ρ = ‖A Aᵀy − θy‖ / ‖y‖. That no larger
    eigenvalue was missed is proved: if λ₂(A Aᵀ) ≤ β < θ, then λ₁ ≤ θ + ρ² / (θ − β) (Kato and Temple). β is from
    :func:`_second_is_below`.

    Rounding, u = ε / 2: an inner product of n terms errs by at most γ_n |a|ᵀ|b|, in any order, so fl(Aᵀy) by
    γ_r ‖A‖_F ‖y‖ and fl(A fl(Aᵀy)) by (γ_r + γ_m) ‖A‖_F² ‖y‖; the factor 1.01 covers γ_n against n u and all
    products of errors. Sums of squares are summed exactly. As ρ enters squared and ‖A‖_F ≤ √r σ, the result is at
    most r^1.5 u relative above σ, 4e-12 at r = 1024.
    """
    side, length = wide.shape
    unit = EPS / 2
    operator = LinearOperator((side, side), matvec=lambda v: wide @ (wide.T @ v), dtype=wide.dtype)
    start = np.random.default_rng(_START).normal(size=side)
    try:
        y = eigsh(operator, k=1, which="LA", v0=start, ncv=16, maxiter=1, tol=1e-8)[1][:, 0]
    except ArpackError:  # no convergence: the largest eigenvalues are close to each other
        return None
    whole = float(np.einsum("ij,ij->", wide, wide)) * 1.01  # ‖A‖_F², without a copy of A
    size = _length(y)
    z = wide.T @ y
    high = (_length(z) + 1.01 * side * unit * math.sqrt(whole) * size) / size * (1 + 8 * unit)
    low = (_length(z) - 1.01 * side * unit * math.sqrt(whole) * size) / size * (1 - 8 * unit)
    product = wide @ z
    quotient = (_length(z) / size) ** 2
    rounding = 1.01 * (side + length + 8) * unit * whole
    residual = _length(product - quotient * y) / size * (1 + 8 * unit) + rounding
    below = (1 - _APART) * low**2
    if residual > 1e-7 * quotient or not _second_is_below(wide, y / size, below, whole):
        return None
    return math.sqrt(high**2 + residual**2 / (low**2 - below)) * (1 + 4 * EPS)


def _length(vector: npt.NDArray[np.float64]) -> float:
    """‖·‖₂ within a few u, whatever the length."""
    return math.sqrt(math.fsum(np.square(vector).tolist()))


def _second_is_below(
    wide: npt.NDArray[np.float64], y: npt.NDArray[np.float64], below: float, whole: float
) -> bool:
    """Whether λ₂(A Aᵀ) ≤ ``below`` can be proved, from a y of length 1 that is near the first eigenvector.

    By Courant and Fischer λ₂ ≤ max xᵀA Aᵀx over unit x ⊥ y, and that is at most β wherever H = βI − A Aᵀ + c yyᵀ is
    positive semidefinite. If Cholesky's algorithm ends, then H ⪰ −(r + 2) u tr H (Higham, "Accuracy and Stability
    of Numerical Algorithms", theorem 10.3: its backward error is at most γ_(r+1) |R|ᵀ|R|, whose norm is at most
    tr RᵀR). To that come the rounding of A, of its Gram matrix, (m + 3) u ‖A‖_F², and of the sum H. Half as many
    digits prove it as well where side² u is small; NumPy's products are used, whose precision no setting lowers.
    """
    side, length = wide.shape
    for dtype in (np.float32, np.float64):
        unit = float(np.finfo(dtype).eps) / 2
        # β + error = below. H, with c = below: rounding A and its products errs by (m + 3) u ‖A‖_F²,
        # the sum by 3 u (β + ‖A‖_F² + 2 c), the factorisation by (r + 2) u (r β + c)
        error = 1.1 * unit * ((length + 7) * whole + (side + 2) * (side + 2) * below + 20 * below)
        if error > 0.1 * below:
            continue  # too few digits for a matrix of this size
        matrix: npt.NDArray[Any] = wide.astype(dtype)
        vector: npt.NDArray[Any] = y.astype(dtype)
        shifted = np.outer(vector, vector * below) - matrix @ matrix.T  # in dtype still
        shifted[np.diag_indices(side)] += below - error
        failed: int = lapack.get_lapack_funcs("potrf", (shifted,))(shifted.T, lower=True, overwrite_a=True)[1]
        return failed == 0
    return False


def _by_squaring(gram: Tensor) -> float:
    """An upper bound on λ_max of a positive semidefinite G (r, r), at most ``OVERESTIMATE``² above it.

    ‖B‖₂² = ‖BᵀB‖₂ ≤ ‖fl(BᵀB)‖₂ + γ_r ‖B‖_F² holds for any B. Applied j times from B = G, with ‖·‖₂ ≤ ‖·‖_F at
    the end, it gives the Schatten norm U_j = ‖G^(2ʲ)‖_F^(1/2ʲ) and its rounding. Always U_j ≤ r^(1/2^(j+1)) λ.
    Also ‖G^(2p)‖_F ≤ λ^p ‖G^p‖_F, whence λ ≥ U_j² / U_(j−1) and U_j / λ ≤ U_(j−1) / U_j. Squaring ends when
    either factor is within ``OVERESTIMATE``².
    """
    side = gram.shape[0]
    steps: list[tuple[float, float]] = []  # ‖B_i‖ ≤ √(scale ‖B_(i+1)‖ + error)

    def unwound(bound: float) -> float:
        for scale, error in reversed(steps):
            bound = math.sqrt(scale * bound + error)
        return bound

    frobenius = float(torch.linalg.matrix_norm(gram)) * (1 + side * EPS)
    first = 2.0 ** math.frexp(frobenius)[1]
    current, frobenius = gram / first, frobenius / first
    bounds = [frobenius]
    while side ** (1 / 2.0 ** (len(bounds))) > OVERESTIMATE**2:
        product = current.T @ current
        error = 1.01 * side * EPS / 2 * frobenius**2
        frobenius = float(torch.linalg.matrix_norm(product)) * (1 + side * EPS)
        scale = 2.0 ** math.frexp(frobenius)[1]
        current, frobenius = product / scale, frobenius / scale
        steps.append((scale, error))
        bounds.append(unwound(frobenius))
        if bounds[-2] <= OVERESTIMATE**2 * bounds[-1]:
            break
    return bounds[-1] * first * (1 + 8 * len(bounds) * EPS)

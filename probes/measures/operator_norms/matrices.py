"""The largest singular value of a matrix: exact where affordable, otherwise an upper bound, and rounded up."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from probes.measures.operator_norms.singular_values import spectrum

__all__ = ["EPS", "matrix_norm"]


LARGEST_EXACT = 4096  # up to this smaller side singular values are found
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

    Beyond ``LARGEST_EXACT`` it is the root of a bound on λ_max of the Gram matrix.
    """
    if min(matrix.shape) <= LARGEST_EXACT:
        return spectrum(matrix).spectral_norm
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    gram, excess = _gram(wide.contiguous())
    return math.sqrt(_by_squaring(gram) + excess) * (1 + 4 * EPS)


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

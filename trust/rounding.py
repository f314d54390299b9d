"""Upper bounds that rounding cannot break: of sums, of Euclidean norms and of the largest singular value.

Real numbers are meant by every inequality here, floats are only how they are computed: u = 2⁻⁵³ is float64's unit
roundoff, a sum or inner product of n terms, in any order, errs by at most γ_n Σ|terms| with γ_n = nu/(1 − nu) (Higham,
"Accuracy and Stability of Numerical Algorithms", section 3.1), and a result is rounded up by more than that. Underflow
is left out: entries that are not 0 are taken to be larger than 1e-140.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.linalg import LinAlgError

from trust.norms import EPS, Array

__all__ = ["gamma", "norm_bound", "raised", "spectral_norm_bound"]

_ITERATED = 128  # from this smaller side the largest eigenvalue is found by Lanczos' iteration


def gamma(terms: int) -> float:
    """At least γ_n for up to 2⁵¹ terms: n ε = 2 n u."""
    return terms * EPS


def raised(values: Array, operations: int) -> Array:
    """A number of at least the exact one, if ``values`` is what so many roundings made of terms not below 0.

    Sums, products and roots of such terms err relatively, by at most (1 − u)^−n each way.
    """
    return np.asarray(values * (1 + (operations + 2) * EPS))


def norm_bound(rows: Array) -> Array:
    """‖·‖₂ of the last axis, rounded up; ∞ where it overflows."""
    with np.errstate(over="ignore"):
        return raised(np.linalg.norm(rows, axis=-1), rows.shape[-1] + 2)


def spectral_norm_bound(matrix: Array) -> float:
    """A proved upper bound on σ_max of a matrix (m, n), at most about 2e-6 above it relatively; +∞ beyond the range.

    An estimate λ of the largest eigenvalue of the smaller Gram matrix G, of side r, decides nothing: what is
    returned is proved by Cholesky's algorithm, as in Rump, "Verification of positive definiteness" (2006). If it
    ends for H = βI − G, then H + ΔH = RRᵀ is positive semidefinite with ‖ΔH‖₂ ≤ γ_{r+1} ‖R‖_F² and ‖R‖_F² ≤ tr
    H/(1 − γ_{r+1}) (Higham, theorem 10.3), whatever the order of its sums, so that λ_max(G) ≤ β + 1.01 γ_{r+1} r
    β. Two more errors: the diagonal of H, at most u β, and G itself, whose entries err by γ_q |a|ᵀ|b| in sums of
    q terms and so its norm by γ_q ‖A‖_F². If it does not end, β was too small and is raised.

    Args:
        matrix: finite numbers; it may have no rows or no columns.
    """
    if not matrix.size:
        return 0.0
    largest = float(np.abs(matrix).max())
    if not math.isfinite(largest):
        return math.inf
    if largest == 0:
        return 0.0
    exponent = math.frexp(largest)[1]  # entries are brought below 1 by a power of two, which is exact
    scaled = np.ldexp(matrix, -exponent)
    wide = scaled if scaled.shape[0] <= scaled.shape[1] else scaled.T
    side, terms = wide.shape
    gram = wide @ wide.T
    whole = float(np.trace(gram)) * (1 + gamma(terms + side))
    error = gamma(terms) * whole
    beta, step = _estimate(gram), 4 * side * EPS
    while True:
        beta = min(beta * (1 + step), whole)
        shifted = -gram
        shifted[np.diag_indices(side)] += beta
        if beta >= whole or _is_positive(shifted):
            square = beta * (1 + 2 * EPS + 1.01 * gamma(side + 1) * side) + error
            with np.errstate(over="ignore"):
                return float(np.ldexp(math.sqrt(square) * (1 + 4 * EPS), exponent))
        step *= 8


def _estimate(gram: Array) -> float:
    """About λ_max."""
    if len(gram) >= _ITERATED:
        from scipy.sparse.linalg import ArpackError, eigsh

        start = np.random.default_rng(19).standard_normal(
            len(gram)
        )  # fixed: the same matrix has the same norm
        try:
            return float(eigsh(gram, k=1, v0=start, tol=1e-6, return_eigenvectors=False)[0])
        except ArpackError:  # no convergence: the largest eigenvalues are close to each other
            pass
    return float(np.linalg.eigvalsh(gram)[-1])


def _is_positive(matrix: Array) -> bool:
    """Whether Cholesky's algorithm ends."""
    try:
        np.linalg.cholesky(matrix)
    except LinAlgError:
        return False
    return True

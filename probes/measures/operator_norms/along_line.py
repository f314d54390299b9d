"""The largest singular value of W + ηd at many η: a bound 2·10⁻⁴ above it, for a few products with vectors.

It is convex in η. So it is found at some η, and is at others at most what the chord between those says; they are so
close that no chord is more than 10⁻⁴ above what a convex function must be at least. At those η it is found by products:

Let K be an orthonormal basis that holds about the leading left singular vectors of W and of d, and M = W̃W̃ᵀ. On what
is orthogonal to K, M is at most c², with c = c_W + ηc_d. For either, c² ≤ σ_(k+1)² + sin²Θ σ_1², if Θ is the angle
between k of K's vectors and k singular ones: sin Θ ≤ ‖R‖_F / (θ_k − σ_(k+1)²) for Ritz values θ and residuals R
(Davis and Kahan). With A = KᵀMK and B = MK − KA, by Schur's complement λ_1(M) ≤ τ for every τ > c² with
λ_1(A + BᵀB / (τ − c²)) ≤ τ. K is enlarged by MK until that holds of τ = (1 + 10⁻⁴)² λ_1(A), for λ_1(A) ≤ λ_1(M). Where
it does not come to hold, all singular values are found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from probes.measures.operator_norms.chords import Chords
from probes.measures.operator_norms.singular_values import FEW, Spectrum, spectrum

__all__ = ["LARGE", "NormAlongLine"]

LARGE = 192
"""Below this smaller side all singular values, at every η, are found as fast."""
_OVERESTIMATE = 1e-4
_BLOCKS, _MOST_BLOCKS = 5, 9  # to find K, and that it is enlarged by; all singular values take fifty
_START = 20200210  # of the search for the leading vectors, fixed: the same matrix has the same bound
_SAME = 1e-6  # below this distance a vector is held by others
_UNIT = torch.finfo(torch.float64).eps / 2


class NormAlongLine:
    """‖W + ηd‖₂ for one matrix W and one direction d, from above."""

    def __init__(
        self, weight: Tensor, direction: Tensor, own: Spectrum, step: Spectrum, etas: Sequence[float]
    ) -> None:
        """Find it at some of the η, so that chords between them are as good at the others.

        Args:
            weight: W (out, in), in any precision.
            direction: d, likewise.
            own: singular values of W.
            step: those of d.
            etas: the η, increasing, from 0.
        """
        flat, step_flat = (one.detach().to(torch.float64).flatten(1) for one in (weight, direction))
        wide, step_wide = (one.T if len(one) > one.shape[1] else one for one in (flat, step_flat))
        leading = None
        if len(wide) >= LARGE and all(
            1e-100 < size < 1e100 for size in (own.spectral_norm, step.spectral_norm)
        ):
            leading = _Leading(wide, step_wide, own, step)
        sizes = [math.sqrt(len(wide)) * one.spectral_norm for one in (own, step)]  # at least ‖·‖_F

        def found(eta: float) -> tuple[float, float]:
            moved = wide + eta * step_wide
            rounding = 2 * _UNIT * (sizes[0] + eta * sizes[1])
            known = None if leading is None else leading.bound(moved, eta, rounding)
            if known is not None:
                return known + rounding, known / (1 + _OVERESTIMATE)
            exact = spectrum(moved).spectral_norm
            return exact + rounding, exact

        self._chords = Chords(own.spectral_norm, own.spectral_norm)
        self._chords.refine(etas, found, _OVERESTIMATE)

    def at(self, eta: float, rest: float) -> float:
        """An upper bound on ‖W̃‖₂ for one of the η.

        Args:
            eta: η.
            rest: an upper bound on ‖W̃ − W − ηd‖₂, what rounding added.
        """
        return self._chords.above(eta) + rest


class _Leading:
    """About the leading left singular vectors of W and of d, and what is beyond them."""

    def __init__(self, wide: Tensor, step_wide: Tensor, own: Spectrum, step: Spectrum) -> None:
        found = [_outside(one, known) for one, known in ((wide, own), (step_wide, step))]
        self.outside = [outside for _, outside in found]
        self.vectors = torch.linalg.qr(torch.cat([vectors for vectors, _ in found], dim=1)).Q

    def bound(self, moved: Tensor, eta: float, rest: float) -> float | None:
        """On ‖moved‖₂, ``moved`` (r, m) being within ``rest`` of W + ηd; None where none can be told."""
        return _bound(moved, self.vectors, self.outside[0] + eta * self.outside[1] + rest)


def _outside(wide: Tensor, known: Spectrum) -> tuple[Tensor, float]:
    """About the leading left singular vectors of A (r, m), and a bound on ‖Aᵀx‖ over unit x orthogonal to them.

    Returns:
        Orthonormal columns (r, k), and the bound.
    """
    generator = torch.Generator().manual_seed(_START)
    block = torch.randn(len(wide), FEW - 1, generator=generator, dtype=torch.float64).to(wide.device)
    basis = block[:, :0]
    for _ in range(_BLOCKS):
        block = torch.linalg.qr(torch.cat([basis, block], dim=1)).Q[:, basis.shape[1] :]
        basis = torch.cat([basis, block], dim=1)
        block = wide @ (wide.T @ block)
    products = wide @ (wide.T @ basis)
    inner = basis.T @ products
    values, mixed = torch.linalg.eigh((inner + inner.T) / 2)
    vectors, values = basis @ mixed.flip(1)[:, : FEW - 1], values.flip(0)[: FEW - 1]
    residuals = torch.linalg.vector_norm(products @ mixed.flip(1)[:, : FEW - 1] - vectors * values, dim=0)
    rounding = _rounding(wide) * float(torch.linalg.vector_norm(wide)) ** 2
    bounds: list[float] = []
    for k in range(1, FEW):
        beyond = known.largest[k] if k < len(known.largest) else 0.0
        gap = float(values[k - 1]) - rounding - beyond * beyond
        residual = float(torch.linalg.vector_norm(residuals[:k])) + k * rounding
        sine = min(residual / gap, 1.0) if gap > 0 else 1.0
        bounds.append(math.hypot(beyond, sine * known.spectral_norm) * (1 + 8 * _UNIT))
    best = min(range(FEW - 1), key=lambda k: bounds[k])
    return vectors[:, : best + 1], bounds[best]


def _rounding(wide: Tensor) -> float:
    """How far a product with A Aᵀ errs, relative to ‖A‖_F², and more than that.

    An inner product of n terms errs by at most γ_n |a|ᵀ|b|, in any order, γ_n ≈ n u: fl(Aᵀy) by γ_r ‖A‖_F ‖y‖ and
    fl(A fl(Aᵀy)) by (γ_r + γ_m) ‖A‖_F² ‖y‖. Another as much is for norms, and for a basis of a few vectors, which
    Householder's QR leaves orthonormal to a small multiple of r u.
    """
    side, length = wide.shape
    return 4 * (side + length + 64) * _UNIT


def _bound(wide: Tensor, basis: Tensor, outside: float) -> float | None:
    """σ_max of A (r, m), r ≤ m, from above, at most ``_OVERESTIMATE`` above it; None where that cannot be told.

    Args:
        wide: A, in float64.
        basis: orthonormal columns (r, k).
        outside: an upper bound on ‖Aᵀx‖ over unit x that are orthogonal to them.
    """
    whole = float(torch.linalg.vector_norm(wide))
    rounding = _rounding(wide) * whole * whole
    beyond = outside * outside + rounding
    products = wide @ (wide.T @ basis)
    for blocks in range(_MOST_BLOCKS):
        if blocks > 0:
            basis, products = _enlarged(wide, basis, products)
        inner = basis.T @ products
        if not bool(torch.isfinite(inner).all()):
            return None
        inner = (inner + inner.T) / 2
        rest = products - basis @ inner
        bound = float(torch.linalg.eigvalsh(inner)[-1]) * (1 + _OVERESTIMATE) ** 2
        if bound <= beyond:
            continue
        coupled = inner + rest.T @ rest / (bound - beyond)
        if (
            float(torch.linalg.eigvalsh(coupled)[-1]) + rounding * (1 + whole * whole / (bound - beyond))
            <= bound
        ):
            return math.sqrt(bound) * (1 + 8 * _UNIT)
    return None


def _enlarged(wide: Tensor, basis: Tensor, products: Tensor) -> tuple[Tensor, Tensor]:
    """With the best that products with what was added last hold beyond it."""
    size = basis.shape[1]
    own, mixed = torch.linalg.qr(torch.cat([basis, products[:, -FEW:]], dim=1))
    fresh = mixed.diagonal()[size:].abs() > _SAME * torch.linalg.vector_norm(mixed[:, size:], dim=0)
    new = own[:, size:][:, fresh]
    return torch.cat([basis, new], dim=1), torch.cat([products, wide @ (wide.T @ new)], dim=1)

"""Norms and exact singular values of weights and perturbations, in float64."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Spectrum", "spectrum"]


@dataclass(frozen=True)
class Spectrum:
    """Of one matrix, a weight with more than two axes being read as (out, everything else).

    Attributes:
        spectral_norm: σ_max.
        condition_number: σ_max / σ_min over all min(m, n) singular values; infinite where the matrix is rank
            deficient to float64 (σ_min ≤ max(m, n) · 2⁻⁵² · σ_max).
    """

    spectral_norm: float
    condition_number: float


def spectrum(matrix: Tensor) -> Spectrum:
    """Exact singular values by LAPACK (no power iteration, which would only bound σ_max from below)."""
    flat = matrix.detach().to(torch.float64).flatten(1)
    if not bool(torch.isfinite(flat).all()):
        return Spectrum(float("nan"), float("nan"))
    values = torch.linalg.svdvals(flat)
    largest, smallest = float(values[0]), float(values[-1])
    negligible = max(flat.shape) * torch.finfo(torch.float64).eps * largest
    return Spectrum(largest, largest / smallest if smallest > negligible else float("inf"))

"""The singular values of a matrix that bounds need, rounded to the safe side."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Spectrum", "spectrum"]

_EPS = torch.finfo(torch.float64).eps


@dataclass(frozen=True)
class Spectrum:
    """Of one matrix, a weight with more than two axes being read as (out, everything else).

    Attributes:
        spectral_norm: σ_max, or more.
        smallest: σ_min over all min(m, n) singular values, or less; 0 where it cannot be told from 0.
        second: σ_2, or more; 0 where there is but one.
    """

    spectral_norm: float
    smallest: float
    second: float = 0.0

    @property
    def condition_number(self) -> float:
        """σ_max / σ_min, or more; infinite for a rank deficient matrix."""
        if math.isnan(self.spectral_norm):
            return math.nan
        return self.spectral_norm / self.smallest if self.smallest > 0 else math.inf

    def above(self, negligible: float) -> Spectrum:
        """With singular values up to ``negligible`` counted as zero."""
        smallest = self.smallest if self.smallest > negligible else 0.0
        return Spectrum(self.spectral_norm, smallest, self.second)

    def beside(self, factor: float, rest: float) -> Spectrum:
        """Of factor · M + R with ‖R‖ ≤ ``rest`` and factor ≥ 0, by Weyl."""
        first, second = (factor * value + rest for value in (self.spectral_norm, self.second))
        return Spectrum(first, max(factor * self.smallest - rest, 0.0), second)


def spectrum(matrix: Tensor) -> Spectrum:
    """Singular values by LAPACK (no power iteration, which would only bound σ_max from below).

    They are those of a matrix within p(m, n)·ε·σ_max of it, p "a modestly growing function", for which max(m, n) is
    allowed; all are rounded outwards by as much.

    Args:
        matrix: (out, …).
    """
    flat = matrix.detach().to(torch.float64).flatten(1)
    if not bool(torch.isfinite(flat).all()):
        return Spectrum(math.nan, math.nan, math.nan)
    values = torch.linalg.svdvals(flat)
    largest, smallest = float(values[0]), float(values[-1])
    rounding = max(flat.shape) * _EPS * largest
    second = float(values[1]) + rounding if len(values) > 1 else 0.0
    return Spectrum(largest + rounding, max(smallest - rounding, 0.0), second)

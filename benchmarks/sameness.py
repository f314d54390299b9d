"""Both sides compute the same numbers, or there is nothing to compare."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["DifferentNumbersError", "same"]


class DifferentNumbersError(AssertionError):
    """Two alternatives disagree by more than rounding."""


def same(
    what: str, ours: npt.ArrayLike, theirs: npt.ArrayLike, *, tolerance: float, least: float = 0.0
) -> dict[str, Any]:
    """Compare row by row, and record how far apart they are.

    Args:
        what: the quantity.
        ours: numbers of any shape; a row is one η.
        theirs: the peer's, of the same shape.
        tolerance: the largest |ours − theirs| that passes. The unit is, for each row, the row's largest magnitude
            or ``least``, whichever is larger.
        least: the smallest unit: 1 for relative changes, whose rounding error is one of the whole that they are
            relative to; 0 for numbers that stand for themselves.

    Returns:
        ``what``, the ``error`` in those units, and the ``tolerance``, for the JSON.

    Raises:
        DifferentNumbersError: the shapes differ, a number is not finite, or the error is too large.
    """
    a, b = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    if a.shape != b.shape or a.size == 0:
        raise DifferentNumbersError(f"{what}: shapes {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise DifferentNumbersError(f"{what}: not all numbers are finite")
    rows = len(a) if a.ndim > 0 else 1
    gaps, sizes = (np.abs(values).reshape(rows, -1).max(axis=1) for values in (a - b, b))
    units = np.maximum(sizes, least)
    error = float(np.divide(gaps, units, out=gaps.copy(), where=units > 0).max())
    if error > tolerance:
        raise DifferentNumbersError(f"{what}: {error:.2e} apart, {tolerance:.0e} is allowed")
    return {"what": what, "error": error, "tolerance": tolerance}

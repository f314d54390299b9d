"""Statistics of studies with their bootstrap intervals: rank correlations and power laws."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import stats

from studies.frame import Interval

__all__ = ["power_law", "rank_correlation"]

Floats = npt.NDArray[np.float64]
_DRAWS = 999
_FEWEST = 4
"""Points of which anything is said."""
_LAW = ("exponent", "intercept", "r2", "exponent/low", "exponent/high", "r2/low", "r2/high")


def rank_correlation(x: npt.ArrayLike, y: npt.ArrayLike) -> Interval:
    """Spearman's, with its 95 % bootstrap interval over pairs; NaN where fewer than four are known."""
    return _resampled(x, y, lambda a, b: float(stats.spearmanr(a, b).statistic))


def _resampled(x: npt.ArrayLike, y: npt.ArrayLike, statistic: Callable[[Floats, Floats], float]) -> Interval:
    pairs = np.array([np.asarray(x, dtype=float).ravel(), np.asarray(y, dtype=float).ravel()])
    one, other = pairs[:, np.isfinite(pairs).all(0)]
    if len(one) < _FEWEST or np.ptp(one) == 0 or np.ptp(other) == 0:
        return Interval(math.nan, math.nan, math.nan)
    draws = np.random.default_rng(0).integers(len(one), size=(_DRAWS, len(one)))
    # a draw of one point again and again has no correlation
    values = [
        statistic(one[draw], other[draw]) for draw in draws if np.ptp(one[draw]) and np.ptp(other[draw])
    ]
    low, high = np.quantile(values, (0.025, 0.975))
    return Interval(float(low), statistic(one, other), float(high))


def power_law(sizes: npt.ArrayLike, log10_values: npt.ArrayLike) -> dict[str, float]:
    """log10 v = a + b log10 n by least squares, with bootstrap intervals over points.

    Returns:
        ``exponent`` b, ``intercept`` a, ``r2``, and ``exponent/low`` and so on.
    """
    x = np.log10(np.asarray(sizes, dtype=float))
    values = np.asarray(log10_values, dtype=float)
    known = np.isfinite(values)
    if np.unique(x[known]).size < 2:
        return dict.fromkeys(_LAW, math.nan)
    fit = stats.linregress(x[known], values[known])
    exponent = _resampled(x, values, lambda a, b: float(stats.linregress(a, b).slope))
    explained = _resampled(x, values, lambda a, b: float(stats.linregress(a, b).rvalue ** 2))
    found = (
        fit.slope,
        fit.intercept,
        fit.rvalue**2,
        exponent.low,
        exponent.high,
        explained.low,
        explained.high,
    )
    return dict(zip(_LAW, map(float, found), strict=True))

"""A number over seeds, as text and as a band in a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from analysis.wording import number
from figures.panels import Series

__all__ = ["Interval", "banded", "interval"]


@dataclass(frozen=True)
class Interval:
    """Of a number over seeds: the median, the smallest and the largest of those that are known."""

    low: float
    middle: float
    high: float

    def shown(self, digits: int = 2) -> str:
        """As text: the median, and in brackets the ends where they differ."""
        middle, low, high = (number(value, digits) for value in (self.middle, self.low, self.high))
        return middle if low == high else f"{middle} ({low}–{high})"


def interval(values: npt.ArrayLike | xr.DataArray) -> Interval:
    """What seeds gave; NaN where none gave anything."""
    known = np.asarray(values, dtype=float).ravel()
    known = known[~np.isnan(known)]
    if not len(known):
        return Interval(np.nan, np.nan, np.nan)
    return Interval(float(known.min()), float(np.median(known)), float(known.max()))


def banded(label: str, x: npt.ArrayLike, intervals: Sequence[Interval], **look: Any) -> Series:
    """A line through the medians, and a band from the smallest to the largest."""
    middle, low, high = ([getattr(one, name) for one in intervals] for name in ("middle", "low", "high"))
    return Series(label, x, middle, low, high, **look)

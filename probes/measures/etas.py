"""Grids of the relative perturbation strength η, and of levels."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from probes.errors import InputError, mention
from probes.measures.settings import MOST_ETAS
from trust.measurements import SMALL_ETA

__all__ = ["parse_etas", "read_etas", "read_levels"]

_LOG_GRID = np.concatenate([[0.0], np.geomspace(SMALL_ETA, 1.0, 20)])


def parse_etas(spec: str) -> npt.NDArray[np.float64]:
    """The strictly increasing grid of η that ``spec`` names, always with 0 in front and η₀ = 1e-4 in it.

    At η₀ constants "at η → 0" are read off, so that they do not depend on the grid.

    Args:
        spec: ``log`` (0 and 20 points from 1e-4 to 1, evenly spaced in log η), ``paper`` (0, 0.001, …, 0.099,
            the published Figure 1), ``a:b:n`` (n points from a to b, evenly spaced) or a comma list.

    Raises:
        InputError: the grid is empty, unsorted, negative or not made of numbers.
    """
    text = spec.strip()
    if text == "log":
        return _LOG_GRID.copy()
    if text == "paper":
        return _with_small_eta(np.arange(100) / 1000.0)
    fix = "give paper, log, a:b:n or a comma list such as 0.001,0.01,0.1"
    try:
        if ":" in text:
            first, last, count = text.split(":")
            number = int(count)
            if not 1 <= number < MOST_ETAS:
                raise InputError(
                    f"{mention('etas', spec)}: the number of points must be from 1 to {MOST_ETAS - 1}; {fix}"
                )
            values = np.linspace(float(first), float(last), number)
        else:
            values = np.array([float(part) for part in text.split(",") if part.strip()])
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{mention('etas', spec)}: not a grid of numbers; {fix}") from error
    if values.size == 0:
        raise InputError(f"{mention('etas', spec)}: the grid is empty; {fix}")
    if not all(math.isfinite(value) for value in values):
        raise InputError(f"{mention('etas', spec)}: every eta must be finite; {fix}")
    if values.min() < 0:
        raise InputError(f"{mention('etas', spec)}: eta is a relative size and cannot be negative; {fix}")
    if np.any(np.diff(values) <= 0):
        raise InputError(f"{mention('etas', spec)}: the etas must increase strictly; {fix}")
    if values[-1] == 0:
        raise InputError(f"{mention('etas', spec)}: the grid holds nothing but 0; {fix}")
    return _with_small_eta(values if values[0] == 0 else np.concatenate([[0.0], values]))


def read_etas(grid: str | npt.ArrayLike) -> npt.NDArray[np.float64]:
    """A grid of η in any form.

    Args:
        grid: text as :func:`parse_etas` reads it, or numbers, which are taken as they are.

    Raises:
        InputError: it does not start at 0, increase strictly and stay finite.
    """
    if isinstance(grid, str):
        return parse_etas(grid)
    try:
        etas = np.array(grid, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError("`etas`: give numbers such as [0, 0.001, 0.01], or log, paper or a:b:n") from error
    if etas.ndim != 1 or len(etas) < 2 or etas[0] != 0:
        raise InputError("`etas`: give a list with 0 first and at least one η more, such as [0, 0.001, 0.01]")
    if not np.all(np.diff(etas) > 0) or not np.isfinite(etas[-1]):
        raise InputError("`etas`: the grid must increase strictly and stay finite, such as [0, 0.001, 0.01]")
    return etas


def read_levels(levels: Any, *, direction: str) -> tuple[float, ...]:
    """The levels of a direction that has some, the mildest first.

    Args:
        levels: numbers, or text with commas between them.
        direction: ``quantize`` (bits), ``prune`` or ``filter-noise`` (percent).

    Raises:
        InputError: they are none of that direction, or not in that order.
    """
    least, most, wanted = {
        "quantize": (2.0, 24.0, "whole numbers of bits from 24 down to 2, such as 8,4,2"),
        "prune": (0.0, 100.0, "rising percentages between 0 and 100, such as 10,50,90"),
        "filter-noise": (0.0, 1e6, "rising percentages above 0, such as 1,10,100"),
    }[direction]
    bits = direction == "quantize"
    try:
        parts = levels.split(",") if isinstance(levels, str) else levels
        numbers = [float(part) for part in parts]
    except (TypeError, ValueError):
        numbers = []
    order = numbers[::-1] if bits else numbers
    rising = all(first < second for first, second in itertools.pairwise(order))
    inside = all(
        least <= number <= most and number.is_integer() if bits else least < number < most
        for number in numbers
    )
    if not (numbers and rising and inside and len(numbers) < MOST_ETAS):
        raise InputError(f"{mention('levels', levels)}: give {wanted}")
    return tuple(numbers)


def _with_small_eta(grid: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    if np.isclose(grid, SMALL_ETA, rtol=1e-9, atol=0.0).any():
        return grid
    return np.insert(grid, np.searchsorted(grid, SMALL_ETA), SMALL_ETA)

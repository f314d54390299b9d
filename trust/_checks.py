"""Argument checks and log-space helpers that the bound calculators share."""

from __future__ import annotations

import numpy as np

from trust.norms import Array, Numbers, as_array

LN10: float = float(np.log(10.0))


def nonnegative(values: Numbers, *, name: str) -> Array:
    """`values` as an array, infinities allowed.

    Raises:
        ValueError: naming the argument, if an entry is negative or NaN.
    """
    array = as_array(values)
    if np.isnan(array).any():
        raise ValueError(f"{name} has {int(np.isnan(array).sum())} NaN entries out of {array.size}")
    if (array < 0).any():
        raise ValueError(f"{name} must not be negative, got {float(array.min()):g}")
    return array


def without_nan(values: Numbers, *, name: str) -> Array:
    """`values` as an array, of either sign.

    Raises:
        ValueError: naming the argument, if an entry is NaN.
    """
    array = as_array(values)
    if np.isnan(array).any():
        raise ValueError(f"{name} has {int(np.isnan(array).sum())} NaN entries out of {array.size}")
    return array


def layered(values: Numbers, *, name: str) -> Array:
    """`nonnegative`, with the layers on the last axis.

    Raises:
        ValueError: as `nonnegative`, or if there is no axis.
    """
    array = nonnegative(values, name=name)
    if array.ndim == 0:
        raise ValueError(f"{name} needs the layers on its last axis, got a single number")
    return array


def log10_expm1(values: Array) -> Array:
    """log10(eˢ − 1) for s ≥ 0, finite where s is positive and finite, −∞ at 0 and +∞ at ∞.

    log10(eˢ − 1) = s/ln 10 + log10(1 − e⁻ˢ), in which neither term overflows or cancels.
    """
    with np.errstate(divide="ignore"):
        return np.asarray(values / LN10 + np.log10(-np.expm1(-values)))


def times(log10_constant: Array, log10_distance: Array) -> Array:
    """log10 of constant × distance, where 0·∞ = 0: no perturbation, no change, however large the constant."""
    with np.errstate(invalid="ignore"):
        total = log10_constant + log10_distance
    return np.where(np.isneginf(log10_distance), -np.inf, total)


def plain(array: Array) -> Array:
    """A NumPy scalar where there are no axes left (which formats like a float), else the array."""
    result: Array = np.asarray(array)[()]
    return result

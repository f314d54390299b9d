"""Deep relative trust, D(r) = ∏_k (1 + r_k) − 1, and the other distances between two networks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from trust._checks import log10_expm1, nonnegative, plain
from trust.norms import Array, Numbers, as_array, finite_array, frobenius_norm, relative_norm


def deep_relative_trust(relative_perturbations: Numbers, *, axis: int = -1) -> Array:
    r"""D(r) = ∏_k (1 + r_k) − 1 over `axis`, as expm1(Σ log1p r_k): exact for tiny r and for many layers.

    .. math:: D(r) = \prod_k (1 + r_k) - 1

    This is modelling assumption 1's right side: deep relative trust offers it as a bound on every layer's
    relative gradient change. 0 for no layers.

    Infinite when D is above the largest float64 (about 1.8e308) or an r is; `log10_deep_relative_trust` stays
    finite in the first case.

    Args:
        relative_perturbations: r_k = ‖ΔW_k‖_F / ‖W_k‖_F, no unit, not negative.
        axis: the layers' axis.

    Raises:
        ValueError: if an entry is negative or NaN, or there is no such axis.
    """
    with np.errstate(over="ignore"):
        return plain(np.expm1(_log_product(relative_perturbations, axis=axis)))


def log10_deep_relative_trust(relative_perturbations: Numbers, *, axis: int = -1) -> Array:
    """log10 of D(r) = ∏_k (1 + r_k) − 1 over `axis`.

    Finite whenever every r is finite and one is positive; −∞ where every r is 0 (or there are no layers),
    +∞ where an r is.

    Args:
        relative_perturbations: r_k = ‖ΔW_k‖_F / ‖W_k‖_F, no unit, not negative.
        axis: the layers' axis.

    Raises:
        ValueError: if an entry is negative or NaN, or there is no such axis.
    """
    return plain(log10_expm1(_log_product(relative_perturbations, axis=axis)))


def relative_perturbations(
    before: Mapping[str, Numbers], after: Mapping[str, Numbers], *, weights_only: bool = True
) -> dict[str, float]:
    r"""r_k = ‖after_k − before_k‖_F / ‖before_k‖_F by name, in `before`'s order.

    .. math:: r_k = \frac{\|\mathrm{after}_k - \mathrm{before}_k\|_F}{\|\mathrm{before}_k\|_F}

    Infinite for an array that was zero and moved; 0 for one that was zero and stayed.

    Args:
        before: arrays by name, such as a state dict.
        after: the same names and shapes.
        weights_only: only arrays with at least two axes, the weight matrices and convolutions that count
            towards L.

    Raises:
        ValueError: if names or shapes differ, or an entry is NaN or infinite; the message names the array.
    """
    pairs = _matched(before, after, weights_only=weights_only)
    return {name: relative_norm(new - old, old) for name, (old, new) in pairs.items()}


def distance_between(before: Mapping[str, Numbers], after: Mapping[str, Numbers]) -> float:
    """Deep relative trust between two networks: D over their weight matrices (arrays with at least two axes).

    It is measured relative to `before`, so it is not symmetric. Infinite as `deep_relative_trust` and
    `relative_perturbations` are.

    Raises:
        ValueError: as `relative_perturbations`, or if there is no weight matrix.
    """
    relative = relative_perturbations(before, after)
    if not relative:
        raise ValueError("no weight matrices: none of the arrays has two or more axes")
    return float(deep_relative_trust(list(relative.values())))


def euclidean_distance(before: Mapping[str, Numbers], after: Mapping[str, Numbers]) -> float:
    """‖ΔW‖ with all arrays (biases too) as one vector: the distance of Euclidean trust.

    Raises:
        ValueError: as `relative_perturbations`.
    """
    pairs = _matched(before, after, weights_only=False)
    return frobenius_norm([frobenius_norm(new - old) for old, new in pairs.values()])


def _log_product(relative: Numbers, *, axis: int) -> Array:
    """Σ log1p(r) over `axis`."""
    r = nonnegative(relative, name="relative_perturbations")
    if not -r.ndim <= axis < r.ndim:
        raise ValueError(f"relative_perturbations has {r.ndim} axes, so there is no layer axis {axis}")
    return np.asarray(np.sum(np.log1p(r), axis=axis))


def _matched(
    before: Mapping[str, Numbers], after: Mapping[str, Numbers], *, weights_only: bool
) -> dict[str, tuple[Array, Array]]:
    """Both arrays of each name, checked."""
    unmatched = sorted(before.keys() ^ after.keys())
    if unmatched:
        there, missing = ("before", "after") if unmatched[0] in before else ("after", "before")
        more = f" ({len(unmatched)} such names in all)" if len(unmatched) > 1 else ""
        raise ValueError(f"array {unmatched[0]!r} is in {there} but not in {missing}{more}")
    pairs: dict[str, tuple[Array, Array]] = {}
    for name in before:
        old, new = as_array(before[name]), as_array(after[name])
        if old.shape != new.shape:
            raise ValueError(f"array {name!r} has shape {old.shape} before but {new.shape} after")
        if weights_only and old.ndim < 2:
            continue
        pairs[name] = finite_array(old, name=f"{name!r} before"), finite_array(new, name=f"{name!r} after")
    return pairs

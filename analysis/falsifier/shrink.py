"""From a network in floats to one that can be printed: short rationals, few of them, and still a counterexample."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from analysis.falsifier.certify import CLEAR, Certificate, certify
from analysis.falsifier.exact import Objects
from analysis.falsifier.numbers import Rationals
from trust.claims import Form

__all__ = ["modest", "shrink"]

_DENOMINATORS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 32, 50, 64, 100, 128, 250, 1000, 10_000, 1_000_000)
_CLEARER = Fraction(11, 10)
"""A ratio that simplification does not give up, if there was one."""
_PASSES = 4
_LISTS = ("changes", "bias_changes", "weights", "biases")
_VECTORS = ("x", "input_change", "target")


def shrink(form: Form, numbers: Rationals, *, enough: Callable[[], bool]) -> Certificate | None:
    """The simplest certified counterexample that is found near ``numbers``; None where none can be certified.

    Args:
        form: the claim.
        numbers: where the inequality seems to fail, in floats' own digits.
        enough: asked between steps; True ends the simplification with what there is.
    """
    certificate = _rounded(form, numbers, enough)
    if certificate is None:
        return None
    keep = min(_CLEARER, certificate.ratio) if certificate.ratio is not None else _CLEARER
    for _ in range(_PASSES):
        before = _cost(certificate.numbers)
        certificate = _simplified(form, certificate, max(keep, CLEAR), enough)
        if _cost(certificate.numbers) == before or enough():
            break
    return certificate


def _rounded(form: Form, numbers: Rationals, enough: Callable[[], bool]) -> Certificate | None:
    """With the smallest common denominator that leaves a counterexample."""
    for denominator in _DENOMINATORS:
        if enough():
            return None
        rounded = _mapped(numbers, partial(_to_denominator, denominator))
        found = certify(form, rounded)
        if found is not None and found.refutes and (modest(rounded) or not modest(numbers)):
            return found
    return None


def _to_denominator(denominator: int, value: Fraction) -> Fraction:
    return Fraction(round(value * denominator), denominator)


def modest(numbers: Rationals) -> bool:
    """Whether every layer moves by at most half of itself: a counterexample with such steps says more."""
    pairs = zip(numbers.weights, numbers.changes, strict=True)
    return all(4 * (dW**2).sum() <= (W**2).sum() for W, dW in pairs)


def _simplified(
    form: Form, certificate: Certificate, keep: Fraction, enough: Callable[[], bool]
) -> Certificate:
    """Whatever can be left out, set to 0 or made shorter, one after the other."""
    for change in _changes(certificate.numbers):
        if enough():
            break
        proposed = change(certificate.numbers)
        if proposed is None or _cost(proposed) >= _cost(certificate.numbers):
            continue
        if modest(certificate.numbers) and not modest(proposed):
            continue
        found = certify(form, proposed)
        if found is not None and found.refutes and (found.ratio is None or found.ratio >= keep):
            certificate = found
    return certificate


def _changes(numbers: Rationals) -> Iterator[Callable[[Rationals], Rationals | None]]:
    for layer, width in enumerate(numbers.widths):
        for unit in reversed(range(width)):
            yield partial(_without_unit, layer=layer, unit=unit)
    for name in _LISTS:
        for k in range(len(numbers.weights)):
            yield partial(_with_array, name=name, k=k, function=lambda array: array * 0)
    for name, k in [
        *((name, k) for name in _LISTS for k in range(len(numbers.weights))),
        *((v, 0) for v in _VECTORS),
    ]:
        for place in range(_array(numbers, name, k).size):
            for simpler in _SIMPLER:
                yield partial(_with_entry, name=name, k=k, place=place, simpler=simpler)


_SIMPLER: tuple[Callable[[Fraction], Fraction], ...] = (
    lambda value: Fraction(0),
    lambda value: Fraction(1 if value > 0 else -1),
    lambda value: Fraction(1),
    lambda value: Fraction(round(value)),
    *(
        lambda value, c=c: c if value > 0 else -c
        for c in map(Fraction, ("1/2", "2", "3/4", "1/4", "1/8", "1/10", "1/100"))
    ),
    *(lambda value, d=d: value.limit_denominator(d) for d in (2, 4, 10, 32, 100, 1000)),
    lambda value: Fraction(f"{float(value):.1g}"),
    lambda value: Fraction(f"{float(value):.2g}"),
)


def _array(numbers: Rationals, name: str, k: int) -> Objects:
    value: Any = getattr(numbers, name)
    found: Objects = value[k] if isinstance(value, list) else value
    return found


def _with_array(
    numbers: Rationals, name: str, k: int, function: Callable[[Objects], Objects]
) -> Rationals | None:
    value: Any = getattr(numbers, name)
    if not isinstance(value, list):
        changed: dict[str, Any] = {name: function(value)}
    elif k >= len(value):
        return None
    else:
        changed = {name: [function(array) if j == k else array for j, array in enumerate(value)]}
    return replace(numbers, **changed)


def _with_entry(
    numbers: Rationals, name: str, k: int, place: int, simpler: Callable[[Fraction], Fraction]
) -> Rationals | None:
    def changed(array: Objects) -> Objects:
        copy = array.copy()
        if place < copy.size:
            copy.ravel()[place] = simpler(copy.ravel()[place])
        return copy

    return _with_array(numbers, name, k, changed)


def _without_unit(numbers: Rationals, layer: int, unit: int) -> Rationals | None:
    """Without one unit of h_layer: an input, a hidden unit or an output."""
    if unit >= numbers.widths[layer] or numbers.widths[layer] == 1:
        return None

    def matrices(values: list[Objects]) -> list[Objects]:
        found = list(values)
        if layer > 0:
            found[layer - 1] = np.delete(found[layer - 1], unit, axis=0)
        if layer < len(found):
            found[layer] = np.delete(found[layer], unit, axis=1)
        return found

    def vectors(values: list[Objects]) -> list[Objects]:
        return [np.delete(value, unit) if j == layer - 1 else value for j, value in enumerate(values)]

    def end(value: Objects, place: int) -> Objects:
        return np.delete(value, unit) if layer == place else value

    return replace(
        numbers,
        weights=matrices(numbers.weights),
        changes=matrices(numbers.changes),
        biases=vectors(numbers.biases),
        bias_changes=vectors(numbers.bias_changes),
        x=end(numbers.x, 0),
        input_change=end(numbers.input_change, 0),
        target=end(numbers.target, len(numbers.weights)),
    )


def _mapped(numbers: Rationals, function: Callable[[Fraction], Fraction]) -> Rationals:
    def each(array: Objects) -> Objects:
        found = np.empty(array.size, dtype=object)
        found[:] = [function(value) for value in array.ravel()]
        return found.reshape(array.shape)

    lists: dict[str, Any] = {name: [each(array) for array in getattr(numbers, name)] for name in _LISTS}
    vectors: dict[str, Any] = {name: each(getattr(numbers, name)) for name in _VECTORS}
    return replace(numbers, **lists, **vectors)


def _cost(numbers: Rationals) -> float:
    """How long the numbers are to print: digits of numerators and denominators; 0 is free, 1 nearly."""
    arrays = [array for name in _LISTS for array in getattr(numbers, name)]
    arrays += [getattr(numbers, name) for name in _VECTORS]
    return sum(_length(value) for array in arrays for value in array.ravel())


def _length(value: Fraction) -> float:
    if value == 0:
        return 0.1  # a place in the matrix all the same
    negative = 0.2 if value < 0 else 0.0
    top, bottom = abs(value.numerator), value.denominator
    return (
        1.0 + negative + 0.3 * (top.bit_length() - 1) + (0.5 + 0.3 * (bottom.bit_length() - 1)) * (bottom > 1)
    )

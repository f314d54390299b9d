"""From a network in floats to one that can be printed: short rationals, few of them, and still a counterexample."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Context
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from analysis.falsifier.certify import CLEAR, Certificate, certify
from analysis.falsifier.exact import Objects
from analysis.falsifier.numbers import Rationals, printable
from trust.claims import Form

__all__ = ["modest", "shrink"]

_DENOMINATORS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 32, 50, 64, 100, 128, 250, 1000, 10_000, 1_000_000)
_DIGITS = (1, 2, 3, 4, 6, 9, 12, 15)
_CLEARER = Fraction(11, 10)
"""A ratio that simplification does not give up; of a smaller one, not the half that is nearer to 1."""
_PASSES = 4
_LISTS = ("changes", "bias_changes", "weights", "biases")
_VECTORS = ("x", "input_change", "target")


def shrink(
    form: Form, numbers: Rationals, *, enough: Callable[[], bool], narrower: bool = True
) -> Certificate | None:
    """The simplest certified counterexample that is found near ``numbers``; None where none can be certified.

    Args:
        form: the claim.
        numbers: where the inequality seems to fail, in floats' own digits.
        enough: asked between steps; True ends the simplification with what there is.
        narrower: whether units may be left out, so that the counterexample's widths are smaller.
    """
    found = _certified(form, numbers, enough)
    if found is None:
        return None
    ratio = found.certificate.ratio
    keep = _CLEARER if ratio is None else min(_CLEARER, (ratio + CLEAR) / 2)
    for _ in range(_PASSES):
        before = found
        found = _simplified(form, found, keep, enough, narrower)
        if found is before or enough():
            break
    return found.certificate


@dataclass(frozen=True)
class _Found:
    """A certified counterexample, and the numbers that it was made of.

    The certificate has those that follow from others filled in. They are never simplified themselves, for they would
    be computed again from what they were, and grow with every step.
    """

    numbers: Rationals
    certificate: Certificate


def _refuted(form: Form, numbers: Rationals, keep: Fraction = CLEAR) -> _Found | None:
    """The certificate, if there is one that can be printed and has this ratio."""
    found = certify(form, numbers)
    if found is None or not found.refutes or not (found.ratio is None or found.ratio >= keep):
        return None
    return _Found(numbers, found) if printable(found.numbers) else None


def _certified(form: Form, numbers: Rationals, enough: Callable[[], bool]) -> _Found | None:
    """The first of ever finer roundings that is a counterexample, and where none is, the numbers as they are."""
    for rounding in _roundings():
        if enough():
            break
        rounded = _mapped(numbers, rounding)
        if modest(rounded) or not modest(numbers):
            found = _refuted(form, rounded)
            if found is not None:
                return found
    return _refuted(form, numbers)


def _roundings() -> Iterator[Callable[[Fraction], Fraction]]:
    """To a common denominator, and then to so many digits each: numbers may be of very different sizes.

    To the nearest, and towards 0: that keeps norms below their limits, where the search likes to be.
    """
    for denominator in _DENOMINATORS:
        yield partial(_to_denominator, denominator)
    for digits in _DIGITS:
        for mode in (ROUND_HALF_EVEN, ROUND_DOWN):
            yield partial(_to_digits, digits, mode=mode)


def _to_denominator(denominator: int, value: Fraction) -> Fraction:
    return Fraction(round(value * denominator), denominator)


def _to_digits(digits: int, value: Fraction, *, mode: str = ROUND_HALF_EVEN) -> Fraction:
    return Fraction(Context(prec=digits, rounding=mode).divide(value.numerator, value.denominator))


def modest(numbers: Rationals) -> bool:
    """Whether every layer moves by at most half of itself: a counterexample with such steps says more."""
    pairs = zip(numbers.weights, numbers.changes, strict=True)
    return all(4 * (dW**2).sum() <= (W**2).sum() for W, dW in pairs)


def _simplified(
    form: Form, found: _Found, keep: Fraction, enough: Callable[[], bool], narrower: bool
) -> _Found:
    """Whatever can be left out, set to 0 or made shorter, one after the other."""
    for change in _changes(found.numbers, narrower):
        if enough():
            break
        proposed = change(found.numbers)
        if proposed is None or _cost(proposed) >= _cost(found.numbers):
            continue
        if modest(found.numbers) and not modest(proposed):
            continue
        simpler = _refuted(form, proposed, keep)
        if simpler is not None and _cost(simpler.certificate.numbers) <= _cost(found.certificate.numbers):
            found = simpler
    return found


def _changes(numbers: Rationals, narrower: bool) -> Iterator[Callable[[Rationals], Rationals | None]]:
    for layer, width in enumerate(numbers.widths if narrower else ()):
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
        for c in map(Fraction, ("1/2", "2", "3/4", "1/4", "1/8", "1/10", "1/100", "1/1000"))
    ),
    *(lambda value, d=d: value.limit_denominator(d) for d in (2, 4, 10, 32, 100, 1000)),
    *(partial(_to_digits, digits) for digits in _DIGITS),
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

"""Trials in exact arithmetic: rational matrices, intervals for roots and singular values, nothing rounded unseen."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.falsifier.intervals import Exact, Interval, UndecidedError, hull, interval
from trust import activations
from trust.claims import Trial

__all__ = ["ExactTrial", "Objects", "singular_value_bounds", "slope_of", "transmission_of"]

Objects = npt.NDArray[np.object_]
_SLOPE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,20})?")
_SLOPES = {
    **{name: Fraction(float(activations.activation(name).derivative(-1.0))) for name in ("identity", "relu")},
    "tanh": None,
}
"""Of the activations without a parameter that are known here; None for the curved one."""
_PIECES = 64
"""Into how many pieces a step is cut where a maximum along it is bounded."""


def slope_of(activation: str) -> Fraction | None:
    """The slope on the left of a piecewise linear activation, exactly as written; None for a curved one.

    Raises:
        ValueError: an activation that is not known here, or a slope that is not written plainly.
    """
    name, _, parameter = activation.partition(":")
    if name == "leaky_relu":
        if parameter and not _SLOPE.fullmatch(parameter):
            raise ValueError(f"activation {activation}: write the slope as a number such as 0.1")
        return Fraction(parameter or str(activations.DEFAULT_PARAMETERS[name]))
    if activation not in _SLOPES:
        raise ValueError(
            f"activation {activation}: the falsifier knows identity, relu, leaky_relu:a and tanh"
        )
    return _SLOPES[name]


def transmission_of(activation: str) -> tuple[Fraction, Fraction]:
    """α and β, exactly."""
    slope = slope_of(activation)
    if slope is None:
        return Fraction(0), Fraction(1)
    return min(abs(slope), Fraction(1)) if slope > 0 else Fraction(0), max(abs(slope), Fraction(1))


@dataclass
class ExactTrial(Trial):
    """One small network of rational numbers."""

    def phi(self, z: Objects) -> Objects:
        """φ, entry by entry."""
        return _each(self._phi, z)

    def gate(self, z: Objects) -> Objects:
        """φ', entry by entry.

        Raises:
            UndecidedError: an argument is exactly at a kink, where φ' is a convention.
        """
        return _each(self._gate, z)

    def _phi(self, z: Exact) -> Exact:
        slope = slope_of(self.activation)
        if slope is None:
            return interval(z).tanh()
        if not isinstance(z, Interval):
            return z if z > 0 else slope * z
        if slope < 0:
            raise UndecidedError("a falling branch")
        ends = [end if end > 0 else slope * end for end in (z.lower, z.upper)]
        return hull(*ends)

    def _gate(self, z: Exact) -> Exact:
        slope = slope_of(self.activation)
        if slope is None:
            return 1 - interval(z).tanh() ** 2
        if slope == 1:
            return Fraction(1)
        low, high = (z.lower, z.upper) if isinstance(z, Interval) else (z, z)
        if low > 0 or high < 0:
            return Fraction(1) if low > 0 else slope
        if low == high:
            raise UndecidedError("an argument at the kink of the activation")
        return hull(slope, Fraction(1))

    def apply(self, matrix: Objects, vector: Objects) -> Objects:
        """The product of a matrix and a vector."""
        return matrix @ vector

    def compose(self, left: Objects, right: Objects) -> Objects:
        """The product of two matrices."""
        return left @ right

    def transposed(self, matrix: Objects) -> Objects:
        """The transpose."""
        return matrix.T

    def outer(self, left: Objects, right: Objects) -> Objects:
        """The outer product."""
        return np.outer(left, right)

    def gated(self, gates: Objects, matrix: Objects) -> Objects:
        """The matrix with its rows multiplied by the gates."""
        return gates[:, None] * matrix

    def inner(self, left: Objects, right: Objects) -> Exact:
        """⟨·,·⟩."""
        return sum((left * right).ravel(), start=Fraction(0))

    def norm(self, values: Objects) -> Interval:
        """√Σ·²."""
        return interval(sum((value**2 for value in values.ravel()), start=Fraction(0))).sqrt()

    def norm1(self, vector: Objects) -> Exact:
        """Σ|·|."""
        return sum((abs(value) for value in vector.ravel()), start=Fraction(0))

    def absolute(self, values: Objects) -> Objects:
        """|·|, entry by entry."""
        return _each(abs, values)

    def common(self, left: Objects, right: Objects) -> Objects:
        """The common sign with the smaller magnitude."""
        pairs = zip(left.ravel(), right.ravel(), strict=True)
        found = np.empty(left.size, dtype=object)
        found[:] = [min(a, b, key=abs) if a * b > 0 else Fraction(0) for a, b in pairs]
        return found.reshape(left.shape)

    def roots(self, vector: Objects) -> Objects:
        """√, entry by entry."""
        return _each(lambda value: interval(value).sqrt(), vector)

    def at_most(self, vector: Objects) -> Objects:
        """The upper ends, rational."""
        return _each(lambda value: value.upper if isinstance(value, Interval) else value, vector)

    def spectral(self, matrix: Objects) -> Interval:
        """σ_max of a rational matrix."""
        return singular_value_bounds(matrix)[0]

    def smallest(self, matrix: Objects) -> Interval:
        """σ_min of a rational matrix."""
        return singular_value_bounds(matrix)[1]

    def maximum(self, *numbers: Exact) -> Interval:
        """The largest."""
        values = [interval(number) for number in numbers]
        return hull(max(v.lower for v in values), max(v.upper for v in values))

    def largest(self, vector: Objects) -> Interval:
        """The largest |·|."""
        return self.maximum(*(abs(value) for value in vector))

    def exp(self, number: Exact) -> Interval:
        """The exponential function."""
        return interval(number).exp()

    def growth(self, number: Exact) -> Interval:
        """The exponential function less 1."""
        return interval(number).expm1()

    def ones(self, vector: Objects) -> Objects:
        """Ones of the vector's shape."""
        return _each(lambda _: Fraction(1), vector)

    def number(self, value: int) -> Fraction:
        """A whole number."""
        return Fraction(value)

    def moves(self, change: Objects) -> int:
        """Whether a change is not zero."""
        return int(any(value != 0 for value in change.ravel()))

    def either(self, flag: Any, yes: Exact, no: Exact) -> Exact:
        """One of two numbers."""
        return yes if flag else no

    def along_step(self, function: Callable[[Any], Any]) -> Interval:
        """The maximum over t in [0, 1], from above: piece by piece, with t an interval."""
        ends = [Fraction(k, _PIECES) for k in range(_PIECES + 1)]
        return self.maximum(*(function(hull(a, b)) for a, b in pairwise(ends)))

    def rounding(self, magnitude: Exact) -> Fraction:
        """Nothing is rounded unseen."""
        return Fraction(0)

    def times(self, number: Exact, values: Objects) -> Objects:
        """A number times an array."""
        return _each(lambda value: number * value, values)

    def column(self, matrix: Objects, place: int) -> Objects:
        """One column."""
        return matrix[:, place]

    def entry(self, vector: Objects, place: int) -> Exact:
        """One entry."""
        found: Exact = vector[place]
        return found

    def root(self, ratio: Fraction) -> Interval:
        """The square root."""
        return interval(ratio).sqrt()


def _each(function: Callable[[Any], Any], values: Objects) -> Objects:
    found = np.empty(values.size, dtype=object)
    found[:] = [function(value) for value in values.ravel()]
    return found.reshape(values.shape)


def singular_value_bounds(matrix: Objects) -> tuple[Interval, Interval]:
    """σ_max and σ_min over all min(m, n) singular values of a rational matrix, as intervals.

    The eigenvalues of the smaller Gram matrix are guessed in floats, and the guesses proved: by Sylvester's law of
    inertia the number of positive pivots of G − sI, computed in rational numbers, is the number of
    eigenvalues above s.

    Raises:
        UndecidedError: no interval could be proved.
    """
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    size = len(gram)
    if size == 1:
        root = interval(gram[0, 0]).sqrt()
        return root, root
    scale = max(abs(value) for value in gram.ravel())
    if scale == 0:
        return interval(0), interval(0)
    guesses = np.linalg.eigvalsh(np.array([[float(v / scale) for v in row] for row in gram]))
    largest = _proved(gram, Fraction(float(guesses[-1])) * scale, scale, above=1)
    smallest = _proved(gram, Fraction(float(guesses[0])) * scale, scale, above=size)
    return largest.sqrt(), smallest.sqrt()


def _proved(gram: Objects, guess: Fraction, scale: Fraction, *, above: int) -> Interval:
    """An interval around ``guess``: at least ``above`` eigenvalues lie above its lower end, fewer above its upper."""
    for exponent in range(15, 5, -1):
        room = scale * Fraction(1, 10**exponent)
        low, high = guess - room, guess + room
        try:
            below = low < 0 or _eigenvalues_above(gram, low) >= above
            beyond = _eigenvalues_above(gram, high) < above
        except ZeroDivisionError:
            continue  # a pivot vanished: another place next time
        if below and beyond:
            return hull(max(low, Fraction(0)), high)
    raise UndecidedError("the singular values of a matrix could not be enclosed")


def _eigenvalues_above(gram: Objects, place: Fraction) -> int:
    """How many eigenvalues of a symmetric rational matrix are larger, by the signs of its pivots."""
    matrix = [list(row) for row in gram]
    for k in range(len(matrix)):
        matrix[k][k] -= place
    positive = 0
    for k, row in enumerate(matrix):
        pivot = row[k]
        if pivot == 0:
            raise ZeroDivisionError
        positive += pivot > 0
        for lower in matrix[k + 1 :]:
            factor = lower[k] / pivot
            for j in range(k, len(row)):
                lower[j] -= factor * row[j]
    return positive

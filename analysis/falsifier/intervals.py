"""Numbers that know their rounding: intervals that mix with whole and rational numbers, and with NumPy's functions.

mpmath computes the endpoints, rounded outwards. NumPy applies ``np.sqrt`` and its like to arrays of objects by
calling the method of that name, so formulas written for floats run on intervals too.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, TypeAlias

from mpmath import iv  # type: ignore[import-untyped]
from mpmath.libmp import finf, fnan, fninf, to_rational  # type: ignore[import-untyped]

__all__ = ["Exact", "Interval", "UndecidedError", "hull", "interval"]

iv.prec = 160
_LARGEST_EXPONENT = 1_000_000
"""Beyond 2 to this power an end is taken for infinite (below its inverse, for unknown): it would fill the memory."""

Exact: TypeAlias = "int | Fraction | Interval"


class UndecidedError(ArithmeticError):
    """The intervals are too wide to tell."""


class Interval:
    """A closed interval that holds the number meant; immutable."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        """Wrap one of mpmath's intervals; use :func:`interval` for other numbers."""
        self.value = value

    @property
    def lower(self) -> Fraction:
        """The lower end.

        Raises:
            UndecidedError: it is infinite, or too large or small to be written down.
        """
        return _rational(self.value.a)

    @property
    def upper(self) -> Fraction:
        """The upper end, likewise."""
        return _rational(self.value.b)

    def __repr__(self) -> str:
        return f"[{float(self.value.a)!r}, {float(self.value.b)!r}]"

    @property
    def middle(self) -> float:
        """Its middle as a float, for reading. There is no ``float()``: a formula must not lose the interval unseen."""
        return float(self.value.mid)

    def _with(self, other: object, operation: Callable[[Any, Any], Any]) -> Any:
        if isinstance(other, Interval | int | Fraction | float):
            return Interval(operation(self.value, interval(other).value))
        return NotImplemented

    def __add__(self, other: object) -> Any:
        return self._with(other, lambda a, b: a + b)

    __radd__ = __add__

    def __sub__(self, other: object) -> Any:
        return self._with(other, lambda a, b: a - b)

    def __rsub__(self, other: object) -> Any:
        return self._with(other, lambda a, b: b - a)

    def __mul__(self, other: object) -> Any:
        return self._with(other, lambda a, b: a * b)

    __rmul__ = __mul__

    def __truediv__(self, other: object) -> Any:
        return self._with(other, _quotient)

    def __rtruediv__(self, other: object) -> Any:
        return self._with(other, lambda a, b: _quotient(b, a))

    def __pow__(self, power: object) -> Any:
        if isinstance(power, float) and power.is_integer():
            power = int(power)
        if isinstance(power, int):
            if power < 0:
                return 1 / self**-power
            return Interval(self.value**power)  # mpmath's whole powers know that squares are not negative
        if isinstance(power, float | Fraction):
            if power == 0.5:
                return self.sqrt()
            return (self.log() * Fraction(power)).exp()
        return NotImplemented

    def __rpow__(self, base: object) -> Any:
        if isinstance(base, int | float | Fraction):
            return (interval(base).log() * self).exp()
        return NotImplemented

    def __neg__(self) -> Interval:
        return Interval(-self.value)

    def __pos__(self) -> Interval:
        return self

    def __abs__(self) -> Interval:
        return Interval(abs(self.value))

    def __lt__(self, other: object) -> bool:
        return self._order(other) < 0

    def __le__(self, other: object) -> bool:
        return self._order(other) <= 0

    def __gt__(self, other: object) -> bool:
        return self._order(other) > 0

    def __ge__(self, other: object) -> bool:
        return self._order(other) >= 0

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True  # how NumPy and xarray ask whether something is NaN
        return isinstance(other, Interval | int | Fraction | float) and self._order(other) == 0

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]

    def _order(self, other: object) -> int:
        """−1, 0 or 1 where that is certain.

        Raises:
            UndecidedError: it is not.
        """
        mine, its = self.value, interval(other).value
        if mine.b < its.a:
            return -1
        if mine.a > its.b:
            return 1
        if mine.a == mine.b == its.a == its.b:
            return 0
        raise UndecidedError("two numbers are too close to be told apart")

    def sqrt(self) -> Interval:
        """√, of what is not certainly negative."""
        if self.value.b < 0:
            raise UndecidedError("the square root of a negative number")
        return Interval(iv.sqrt(iv.mpf([max(self.value.a, 0), self.value.b])))

    def exp(self) -> Interval:
        """The exponential function."""
        return Interval(iv.exp(self.value))

    def expm1(self) -> Interval:
        """The exponential function less 1."""
        return self.exp() - 1

    def log(self) -> Interval:
        """The natural logarithm of what is certainly positive."""
        if not self.value.a > 0:
            raise UndecidedError("the logarithm of a number that may be 0")
        return Interval(iv.log(self.value))

    def log1p(self) -> Interval:
        """The natural logarithm of 1 and this."""
        result: Interval = (self + 1).log()
        return result

    def log10(self) -> Interval:
        """The logarithm to base 10."""
        result: Interval = self.log() / Interval(iv.log(10))
        return result

    def tanh(self) -> Interval:
        """The hyperbolic tangent, which increases."""
        ends = [1 - 2 / (Interval(2 * end).exp() + 1) for end in (self.value.a, self.value.b)]
        return Interval(iv.mpf([ends[0].value.a, ends[1].value.b]))


def interval(number: object) -> Interval:
    """A whole, rational or floating-point number as an interval.

    Raises:
        TypeError: it is no such number.
    """
    if isinstance(number, Interval):
        return number
    if isinstance(number, Fraction):
        return Interval(iv.mpf(number.numerator) / iv.mpf(number.denominator))
    if isinstance(number, int | float):
        return Interval(iv.mpf(number))
    raise TypeError(f"{type(number).__name__} is no exact number")


def hull(lower: Exact, upper: Exact) -> Interval:
    """The smallest interval that holds both."""
    ends = interval(lower).value, interval(upper).value
    return Interval(iv.mpf([min(end.a for end in ends), max(end.b for end in ends)]))


def _quotient(a: Any, b: Any) -> Any:
    if 0 in b:
        raise UndecidedError("a division by a number that may be 0")
    return a / b


def _rational(end: Any) -> Fraction:
    number = end._mpi_[0] if hasattr(end, "_mpi_") else end._mpf_
    if number in (finf, fninf, fnan) or abs(number[2]) > _LARGEST_EXPONENT:
        raise UndecidedError("an infinite number")
    top, bottom = to_rational(number)
    return Fraction(int(top), int(bottom))

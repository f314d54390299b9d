"""Certificates: both sides of a claim and its conditions again, in exact and interval arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from analysis.falsifier.exact import ExactTrial, slope_of
from analysis.falsifier.intervals import Interval, UndecidedError, interval
from analysis.falsifier.numbers import Rationals, exact_trial, without_unused
from trust.claims import Form

__all__ = ["CLEAR", "Certificate", "allowed", "certify"]

CLEAR = Fraction(101, 100)
"""Left must be at least this many times right."""


@dataclass(frozen=True)
class Certificate:
    """What exact arithmetic says of one network.

    Attributes:
        left: the measured side.
        right: the bound.
        margins: for each condition how far inside it the numbers are.
        strict: the conditions whose margin must be above 0.
        numbers: the network's, with those that follow from others filled in.
    """

    left: Interval
    right: Interval
    margins: Mapping[str, Interval]
    strict: frozenset[str]
    numbers: Rationals

    @property
    def holds(self) -> bool:
        """Whether every condition certainly holds."""
        return all(
            margin.lower > 0 if name in self.strict else margin.lower >= 0
            for name, margin in self.margins.items()
        )

    @property
    def ratio(self) -> Fraction | None:
        """A lower bound of left/right; None where right may be 0 and left is not, which is more than any number.

        0 where left may be 0 or less.
        """
        if self.left.lower <= 0:
            return Fraction(0)
        return self.left.lower / self.right.upper if self.right.upper > 0 else None

    @property
    def refutes(self) -> bool:
        """Whether the conditions hold and the inequality fails by a clear margin."""
        return self.holds and (self.ratio is None or self.ratio >= CLEAR)


def allowed(form: Form, activation: str) -> bool:
    """Whether the form's premises allow an activation.

    Raises:
        ValueError: a slope that is no number.
    """
    return any(
        activation.startswith(name) and (slope_of(activation) or 0) > 0
        if name.endswith(":")
        else activation == name
        for name in form.activations
    )


def certify(form: Form, numbers: Rationals) -> Certificate | None:
    """Both sides and all conditions from scratch; None where exact arithmetic cannot decide.

    That is so where an argument lies exactly at a kink, where something divides by 0, and where the network is
    of a shape or activation that the premises exclude.
    """
    if not allowed(form, numbers.activation) or not form.widths(numbers.widths):
        return None
    numbers = without_unused(numbers, form.uses)
    try:
        trial = form.derive(exact_trial(numbers))
        assert isinstance(trial, ExactTrial)
        left, right = (interval(side) for side in form.sides(trial))
        margins = {condition.name: interval(condition.margin(trial)) for condition in form.conditions}
        strict = frozenset(condition.name for condition in form.conditions if condition.strict)
        for side in (left, right, *margins.values()):
            _ = side.lower, side.upper  # finite, or nothing is decided
        derived: dict[str, Any] = {name: getattr(trial, name) for name in numbers.parts()}
        return Certificate(left, right, margins, strict, replace(numbers, **derived))
    except (UndecidedError, ZeroDivisionError):
        return None

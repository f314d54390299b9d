"""The numbers of small networks: many in floats, or one in rationals, and the trials made of them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analysis.falsifier.exact import ExactTrial, Objects, transmission_of
from analysis.falsifier.floats import FloatTrial

__all__ = [
    "LONGEST",
    "MOST_DIGITS",
    "Floats",
    "Rationals",
    "exact_trial",
    "float_trial",
    "picked",
    "printable",
    "without_unused",
]

LONGEST = 60
"""Digits of a numerator or a denominator in a witness."""
MOST_DIGITS = 3000
"""Of all numbers of a witness together: checking it exactly takes seconds, not hours."""


@dataclass(frozen=True)
class _Numbers:
    """Everything that a trial is made of; see :class:`trust.claims.Trial`."""

    activation: str
    weights: list[Any]
    changes: list[Any]
    biases: list[Any]
    bias_changes: list[Any]
    x: Any
    input_change: Any
    target: Any

    @property
    def widths(self) -> tuple[int, ...]:
        """d_0, …, d_L."""
        return (int(self.x.shape[-1]), *(int(W.shape[-2]) for W in self.weights))

    def parts(self) -> dict[str, Any]:
        """All but the activation, by name."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "activation"}


class Floats(_Numbers):
    """Many networks: tensors with the trial in front."""


class Rationals(_Numbers):
    """One network: arrays of fractions."""


def float_trial(numbers: Floats) -> FloatTrial:
    """The trials of a batch."""
    alpha, beta = (torch.tensor(float(c), dtype=torch.float64) for c in transmission_of(numbers.activation))
    return FloatTrial(**numbers.parts(), activation=numbers.activation, alpha=alpha, beta=beta)


def exact_trial(numbers: Rationals) -> ExactTrial:
    """The trial of one network."""
    alpha, beta = transmission_of(numbers.activation)
    return ExactTrial(**numbers.parts(), activation=numbers.activation, alpha=alpha, beta=beta)


def picked(trial: FloatTrial, place: int) -> Rationals:
    """One trial of a batch, its floats as the fractions that they are."""

    def exact(tensor: Tensor) -> Objects:
        values = tensor.detach()[place].numpy()
        found = np.empty(values.size, dtype=object)
        found[:] = [Fraction(float(value)) for value in values.ravel()]
        return found.reshape(values.shape)

    lists: dict[str, Any] = {
        name: [exact(t) for t in getattr(trial, name)]
        for name in ("weights", "changes", "biases", "bias_changes")
    }
    vectors: dict[str, Any] = {name: exact(getattr(trial, name)) for name in ("x", "input_change", "target")}
    return Rationals(activation=trial.activation, **lists, **vectors)


def printable(numbers: Rationals) -> bool:
    """Whether a witness may have these numbers."""
    arrays = [a for part in numbers.parts().values() for a in (part if isinstance(part, list) else [part])]
    values = [value for array in arrays for value in array.ravel() if value]
    limit = 10**LONGEST
    return (
        all(abs(value.numerator) < limit and value.denominator < limit for value in values)
        and sum(len(str(value)) for value in values) <= MOST_DIGITS
    )


def without_unused(numbers: Rationals, uses: tuple[str, ...]) -> Rationals:
    """The same numbers, with zeros where the claim has no such numbers."""

    def zeros(array: Objects) -> Objects:
        return np.full(array.shape, Fraction(0), dtype=object)

    if "biases" not in uses:
        numbers = replace(
            numbers,
            biases=[zeros(b) for b in numbers.biases],
            bias_changes=[zeros(b) for b in numbers.bias_changes],
        )
    for name in ("input_change", "target"):
        if name not in uses:
            blank: dict[str, Any] = {name: zeros(getattr(numbers, name))}
            numbers = replace(numbers, **blank)
    return numbers

"""Witnesses: a counterexample as a small JSON document, written, read back and checked again from scratch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from fractions import Fraction
from typing import Any

import numpy as np

from analysis.falsifier.certify import Certificate, certify
from analysis.falsifier.exact import Objects, slope_of
from analysis.falsifier.generic import form_of
from analysis.falsifier.intervals import Interval
from analysis.falsifier.numbers import LONGEST, MOST_DIGITS, Rationals, printable
from trust.claims import Claim

__all__ = ["Replay", "WitnessError", "replay", "to_json"]

_NUMBER = re.compile(rf"-?\d{{1,{LONGEST}}}(/[1-9]\d{{0,{LONGEST - 1}}})?")
_LARGEST = 16
"""The widest layer and the deepest network that a witness may have."""
_PARTS = {
    "weights": "weights",
    "changes": "perturbation",
    "biases": "biases",
    "bias_changes": "bias_perturbation",
    "x": "input",
    "input_change": "input_perturbation",
    "target": "target",
}


class WitnessError(ValueError):
    """A document that is no witness; the message says why."""


@dataclass(frozen=True)
class Replay:
    """What came of checking a witness again.

    Attributes:
        claim: id.
        certificate: both sides and conditions; None where exact arithmetic could not decide.
        refutes: whether it is a counterexample.
    """

    claim: str
    certificate: Certificate | None
    refutes: bool


def to_json(claim: Claim, certificate: Certificate) -> dict[str, Any]:
    """A certified counterexample as a document that is short enough to print in a paper."""
    numbers = certificate.numbers
    form = form_of(claim)
    left, right = ("biases", "bias_changes"), ("input_change", "target")
    kept = {"weights", "changes", "x"} | ({*left} if "biases" in form.uses else set())
    kept |= {name for name in right if name in form.uses}
    document: dict[str, Any] = {
        "claim": claim.id,
        "statement": claim.statement,
        "widths": list(numbers.widths),
        "activation": numbers.activation,
    }
    for name, key in _PARTS.items():
        if name in kept:
            value = getattr(numbers, name)
            document[key] = [_texts(array) for array in value] if isinstance(value, list) else _texts(value)
    ratio = certificate.ratio
    document |= {
        "left": _ends(certificate.left),
        "right": _ends(certificate.right),
        "ratio_at_least": None if ratio is None else _decimal(ratio, 6, ROUND_FLOOR),
        "conditions": {name: _ends(margin) for name, margin in certificate.margins.items()},
        "premises": {premise.name: premise.statement for premise in claim.premises},
    }
    return document


def replay(document: Any, claim: Claim) -> Replay:
    """Read a witness and certify it again, trusting nothing in it but the network's numbers.

    Raises:
        WitnessError: the document is not one.
    """
    form = form_of(claim)
    numbers = read(document)
    certificate = certify(form, numbers)
    return Replay(claim.id, certificate, certificate is not None and certificate.refutes)


def read(document: Any) -> Rationals:
    """The network of a witness.

    Raises:
        WitnessError: something in it is missing, damaged or too large.
    """
    if not isinstance(document, dict):
        raise WitnessError("it is not a JSON object")
    widths = document.get("widths")
    whole = isinstance(widths, list) and all(type(w) is int and 1 <= w <= _LARGEST for w in widths)
    if not whole or not isinstance(widths, list) or not 2 <= len(widths) <= _LARGEST + 1:
        raise WitnessError(f"widths must be 2 to {_LARGEST + 1} whole numbers from 1 to {_LARGEST}")
    activation = document.get("activation")
    try:
        if not isinstance(activation, str) or not re.fullmatch(
            r"[a-z_]{1,20}(:\d{1,9}(\.\d{1,20})?)?", activation
        ):
            raise ValueError("activation: must be text such as relu or leaky_relu:0.1")
        slope_of(activation)
    except ValueError as error:
        raise WitnessError(str(error)) from error
    shapes = list(zip(widths[1:], widths[:-1], strict=True))

    def listed(key: str, vectors: bool) -> list[Objects]:
        value = document.get(key)
        wanted = [(rows,) if vectors else (rows, columns) for rows, columns in shapes]
        if value is None and vectors:
            return [np.full(shape, Fraction(0), dtype=object) for shape in wanted]
        if not isinstance(value, list) or len(value) != len(shapes):
            raise WitnessError(
                f"{key}: must be a list of {len(shapes)} {'vectors' if vectors else 'matrices'}"
            )
        return [
            _array(part, shape, f"{key}[{k}]")
            for k, (part, shape) in enumerate(zip(value, wanted, strict=True))
        ]

    def vector(key: str, size: int, *, needed: bool = False) -> Objects:
        if document.get(key) is None and not needed:
            return np.full(size, Fraction(0), dtype=object)
        return _array(document.get(key), (size,), key)

    found = Rationals(
        activation=activation,
        weights=listed("weights", False),
        changes=listed("perturbation", False),
        biases=listed("biases", True),
        bias_changes=listed("bias_perturbation", True),
        x=vector("input", widths[0], needed=True),
        input_change=vector("input_perturbation", widths[0]),
        target=vector("target", widths[-1]),
    )
    if not printable(found):
        raise WitnessError(f"its numbers have more than {MOST_DIGITS} digits together")
    return found


def _array(value: Any, shape: tuple[int, ...], place: str) -> Objects:
    """Fractions of the wanted shape.

    Raises:
        WitnessError: another shape, or something that is no fraction.
    """
    if len(shape) == 1:
        if not isinstance(value, list) or len(value) != shape[0]:
            raise WitnessError(f"{place}: must be a list of {shape[0]} numbers")
        found = np.empty(shape, dtype=object)
        found[:] = [_fraction(entry, place) for entry in value]
        return found
    if not isinstance(value, list) or len(value) != shape[0]:
        raise WitnessError(f"{place}: must have {shape[0]} rows")
    return np.stack([_array(row, shape[1:], place) for row in value])


def _fraction(entry: Any, place: str) -> Fraction:
    if type(entry) is int and abs(entry) < 10**LONGEST:
        return Fraction(entry)
    if isinstance(entry, str) and _NUMBER.fullmatch(entry):
        return Fraction(entry)
    raise WitnessError(f'{place}: numbers are written as "3", "-1/2" and so on, not {_brief(entry)}')


def _brief(entry: Any) -> str:
    return repr(entry[:40]) if isinstance(entry, str) else type(entry).__name__


def _texts(array: Objects) -> list[Any]:
    return [_texts(row) if isinstance(row, np.ndarray) else str(row) for row in array]


def _ends(side: Interval) -> list[float | str]:
    """Both ends, rounded outwards to twelve digits."""
    return [_decimal(side.lower, 12, ROUND_FLOOR), _decimal(side.upper, 12, ROUND_CEILING)]


def _decimal(number: Fraction, digits: int, rounding: str) -> float | str:
    """A number of so many digits, read as it is printed; as text where a float would be infinite or lose them."""
    context = Context(prec=digits, rounding=rounding, Emin=-(10**9), Emax=10**9)
    found = context.divide(Decimal(number.numerator), Decimal(number.denominator))
    return float(found) if found == 0 or -290 < found.adjusted() < 300 else str(found)

"""Small random networks of rational numbers, in both arithmetics."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import torch

from analysis.falsifier.exact import ExactTrial, Objects
from analysis.falsifier.floats import FloatTrial
from analysis.falsifier.intervals import UndecidedError
from analysis.falsifier.numbers import Floats, Rationals, exact_trial, float_trial, picked, without_unused
from trust.claims import Claim, Form, all_claims

SHAPES = ((2, 1), (1, 2, 2), (3, 2, 3), (2, 2, 2, 1))


@cache
def claims() -> dict[str, Claim]:
    return {id: claim for id, claim in all_claims().items() if claim.form is not None}


def form(id: str) -> Form:
    found = claims()[id].form
    assert found is not None
    return found


def activations(form: Form) -> list[str]:
    return [
        name + slope
        for name in form.activations
        for slope in (("0.25", "1.5") if name.endswith(":") else ("",))
    ]


def cases() -> list[tuple[str, str, tuple[int, ...]]]:
    """Every claim with each of its activations and widths."""
    return [
        (id, activation, shape)
        for id, claim in claims().items()
        if claim.form is not None
        for activation in activations(claim.form)
        for shape in (
            SHAPES[1:2]
            if activation.endswith("1.5")
            else SHAPES[:2]
            if id in ("lemma1", "lemma2")
            else SHAPES
        )  # these are slow
        if claim.form.widths(shape)
    ]


def fractions(array: Any) -> Objects:
    """The floats, or whole numbers, as the fractions that they are."""
    values = np.asarray(array)
    found = np.empty(values.size, dtype=object)
    found[:] = [Fraction(value.item()) for value in values.ravel()]
    return found.reshape(values.shape)


def random_numbers(widths: tuple[int, ...], activation: str, seed: int, step: int = 8) -> Rationals:
    """Gaussian numbers in multiples of 1/64, which floats hold exactly; steps are smaller by ``step``."""
    rng = np.random.default_rng(seed)

    def some(*shape: int, size: float = 1.0) -> Objects:
        values = np.round(64 * size * rng.standard_normal(shape))
        return fractions(np.where(values == 0, 1.0, values) / 64)

    shapes = list(zip(widths[1:], widths[:-1], strict=True))
    return Rationals(
        activation=activation,
        weights=[some(*shape) for shape in shapes],
        changes=[some(*shape, size=1 / step) for shape in shapes],
        biases=[some(rows) for rows, _ in shapes],
        bias_changes=[some(rows, size=1 / step) for rows, _ in shapes],
        x=some(widths[0]),
        input_change=some(widths[0], size=1 / step),
        target=some(widths[-1]),
    )


def in_floats(numbers: Rationals) -> Floats:
    """A batch of one."""

    def one(array: Objects) -> torch.Tensor:
        return torch.from_numpy(array.astype(np.float64))[None]

    parts = {
        name: [one(array) for array in value] if isinstance(value, list) else one(value)
        for name, value in numbers.parts().items()
    }
    return Floats(activation=numbers.activation, **parts)


def trials(
    form: Form, widths: tuple[int, ...], activation: str, seed: int = 0
) -> tuple[FloatTrial, ExactTrial]:
    """A network that satisfies the form's conditions, in floats and exactly."""
    for attempt in range(seed, seed + 100):
        numbers = without_unused(random_numbers(widths, activation, attempt), form.uses)
        start = float_trial(in_floats(numbers))
        if any(float(trial_norm) < 1e-3 for trial_norm in map(start.norm, start.gradients(start.weights))):
            continue  # ReLU lets nothing through
        constructed = form.construct(start)
        assert isinstance(constructed, FloatTrial)
        try:
            found = both(form, picked(constructed, 0))
            form.sides(found[1])
        except UndecidedError:
            continue  # a kink
        return found
    raise AssertionError("no network lets a gradient through")


def both(form: Form, numbers: Rationals) -> tuple[FloatTrial, ExactTrial]:
    """The same network in both arithmetics, with what the form derives."""
    floats, exact = form.derive(float_trial(in_floats(numbers))), form.derive(exact_trial(numbers))
    assert isinstance(floats, FloatTrial)
    assert isinstance(exact, ExactTrial)
    return floats, exact

"""From floats to short rationals: a clear violation always ends in a certificate that can be printed and replayed."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from analysis.falsifier import falsify, replay, search, to_json
from analysis.falsifier import shrink as shrinking
from analysis.falsifier.certify import Certificate, certify
from analysis.falsifier.exact import Objects
from analysis.falsifier.numbers import Rationals, printable
from analysis.falsifier.shrink import shrink
from analysis.falsifier.witness import read
from tests.analysis.falsifier import examples
from trust.claims import Claim, Condition, Form, Trial


def planted(form: Form) -> Claim:
    return replace(examples.claims()["spectral-product"], id="planted", form=form, mended_by="", mend="")


def smaller(id: str, factor: Fraction) -> Form:
    """With a bound that is smaller by a factor."""
    form = examples.form(id)

    def sides(trial: Trial) -> tuple[Any, Any]:
        left, right = form.sides(trial)
        return left, right * factor.numerator / factor.denominator

    return replace(form, sides=sides)


MAJORISATION = smaller("agd-majorisation", Fraction(9, 10))
UNLIMITED = replace(examples.form("neyshabur"), conditions=(), construct=lambda trial: trial)


def network(
    widths: tuple[int, ...], weights: list[Any], changes: list[Any], x: Any, activation: str = "identity"
) -> Rationals:
    """Floats as the fractions that they are, without biases and a target."""
    rows = widths[1:]
    return Rationals(
        activation=activation,
        weights=[examples.fractions(np.array(W, dtype=float)) for W in weights],
        changes=[examples.fractions(np.array(dW, dtype=float)) for dW in changes],
        biases=[examples.fractions(np.zeros(d)) for d in rows],
        bias_changes=[examples.fractions(np.zeros(d)) for d in rows],
        x=examples.fractions(np.array(x, dtype=float)),
        input_change=examples.fractions(np.zeros(widths[0])),
        target=examples.fractions(np.zeros(widths[-1])),
    )


def certified(form: Form, numbers: Rationals, *, late: bool = False) -> Certificate:
    found = shrink(form, numbers, enough=lambda: late)
    assert found is not None
    assert found.refutes
    assert replay(json.loads(json.dumps(to_json(planted(form), found))), planted(form)).refutes
    return found


def texts(numbers: Rationals) -> list[str]:
    arrays: list[Objects] = [*numbers.weights, *numbers.changes, numbers.x, numbers.target]
    return [str(value) for array in arrays for value in array.ravel()]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("step", [1e-4, 1.2345e-7, 1e-9 / 3, -1e-12 / 7, 1e-30 / 3])
def test_steps_of_any_size_are_certified(step: float, late: bool) -> None:
    less = 1 - 2.0**-20
    found = certified(MAJORISATION, network((1, 1), [[[less]]], [[[step]]], [less]), late=late)
    assert late or max(map(len, texts(found.numbers))) <= 7


@pytest.mark.parametrize(("step", "found"), [(1e-9 / 3, True), (0.0, False)])
def test_a_search_that_is_late_looks_at_the_numbers_once(
    monkeypatch: pytest.MonkeyPatch, step: float, found: bool
) -> None:
    seen = []

    def counted(form: Form, numbers: Rationals) -> Certificate | None:
        seen.append(numbers)
        return certify(form, numbers)

    monkeypatch.setattr(shrinking, "certify", counted)
    numbers = network((1, 1), [[[0.9]]], [[[step]]], [0.9])
    certificate = shrink(smaller("spectral-product", Fraction(9, 10)), numbers, enough=lambda: True)
    assert (certificate is not None) is found
    assert seen == [numbers]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("size", [1e-3, 1e-8 / 3, 1e-15 / 7])
def test_weights_of_very_different_sizes_are_certified(size: float, late: bool) -> None:
    numbers = network((1,) * 4, [[[size]], [[-0.7]], [[size / 3]]], [[[0.9]], [[-0.2]], [[1.1]]], [1.3])
    found = certified(UNLIMITED, numbers, late=late)
    assert late or sum(map(len, texts(found.numbers))) <= 30


@pytest.mark.parametrize(("form", "widths"), [(MAJORISATION, (1, 1)), (UNLIMITED, (1, 1, 1, 1))])
@pytest.mark.parametrize("noise", range(5))
def test_the_certificate_does_not_hang_on_the_last_digits_of_the_start(
    monkeypatch: pytest.MonkeyPatch, form: Form, widths: tuple[int, ...], noise: int
) -> None:
    """Other processors round differently, and the search carries the difference to other networks."""
    true, rng = search.starts, np.random.default_rng(noise)

    def moved(*arguments: Any, **more: Any) -> Any:
        found = true(*arguments, **more)
        size = 10.0 ** -rng.integers(9, 16)
        return {
            name: [array * (1 + size * rng.standard_normal(array.shape)) for array in arrays]
            for name, arrays in found.items()
        }

    monkeypatch.setattr(search, "starts", moved)
    found = falsify(planted(form), widths=[widths], activation="identity", most_rounds=1)
    assert found.certificate is not None
    assert printable(found.certificate.numbers)


def test_norms_at_their_limits_stay_below_them() -> None:
    """Rounded to the nearest, some of many norms would come out above their limits, by however little."""

    def sides(trial: Trial) -> tuple[Any, Any]:
        return trial.norm(trial.x), trial.number(1) * 19 / 20

    def margin(trial: Trial) -> Any:
        return trial.smallest_of(*(1 - trial.norm(v) for v in [trial.x, *trial.weights, *trial.changes]))

    form = Form(sides, (Condition("small", margin),))
    for seed in range(10):
        rng = np.random.default_rng(seed)
        parts = [rng.standard_normal(shape) for shape in ((2,), *[(2, 2)] * 8)]
        x, *matrices = [part / np.linalg.norm(part) * (1 + 4e-16) for part in parts]
        numbers = network((2,) * 5, matrices[:4], matrices[4:], x)
        exact = certify(form, numbers)
        assert exact is not None
        assert not exact.refutes
        certified(form, numbers)


def _balanced(trial: Trial) -> Trial:
    ones = trial.ones(trial.x)
    return replace(trial, x=trial.x - trial.times(trial.inner(trial.x, ones) / trial.width(trial.x), ones))


def test_what_must_be_equal_is_equal_in_what_is_printed() -> None:
    """Numbers that a form derives are projected again after every rounding, in rational numbers."""

    def margin(trial: Trial) -> Any:
        total = trial.inner(trial.x, trial.ones(trial.x))
        return trial.rounding(trial.norm(trial.x)) - trial.maximum(total, -total)

    form = smaller("spectral-product", Fraction(9, 10))
    form = replace(form, derive=_balanced, conditions=(Condition("balanced", margin),))
    found = falsify(planted(form), widths=[(2, 2)], activation="identity", most_rounds=1).certificate
    assert found is not None
    assert sum(found.numbers.x) == 0
    assert any(found.numbers.x != 0)
    document = to_json(planted(form), found)
    assert sum(map(Fraction, document["input"])) == 0


def test_derived_numbers_do_not_grow() -> None:
    """The target of agd-majorisation takes the digits of the whole network, at every step anew."""
    claim = planted(MAJORISATION)
    found = falsify(claim, widths=[(1, 2, 2)], activation="identity", most_rounds=2).certificate
    assert found is not None
    assert replay(json.loads(json.dumps(to_json(claim, found))), claim).refutes
    assert sum(map(len, texts(found.numbers))) < 120


def test_a_ratio_near_1_leaves_room_for_short_numbers() -> None:
    step = 1e-9 / 3
    less = 1 - 2.0**-20
    form = smaller("agd-majorisation", Fraction(19, 20))  # 1.05 at most, for steps near 0
    found = certified(form, network((1, 1), [[[less]]], [[[step]]], [less]))
    assert max(map(len, texts(found.numbers))) <= 6
    assert found.ratio is not None
    assert found.ratio >= Fraction(103, 100)


def test_numbers_that_are_too_long_to_print_are_no_witness_and_are_spoken_of() -> None:
    def derive(trial: Trial) -> Trial:
        target = trial.x
        for _ in range(200):
            target = target / 3
        return replace(trial, target=target)

    form = replace(smaller("spectral-product", Fraction(9, 10)), derive=derive, uses=("target",))
    found = falsify(planted(form), widths=[(1, 1)], activation="identity", most_rounds=1)
    assert found.certificate is None
    assert found.worst_log10_ratio > 0.04
    assert "too long" in found.doubt


def test_what_can_be_printed_can_be_read() -> None:
    numbers = network((1, 1), [[[1]]], [[[1]]], [1])
    claim = planted(MAJORISATION)
    certificate = certify(MAJORISATION, numbers)
    assert certificate is not None
    nines = 10**60 - 1
    for value in (nines, -nines, Fraction(1, nines), Fraction(-nines, nines - 1)):
        fits = replace(numbers, x=np.array([Fraction(value)], dtype=object))
        assert printable(fits)
        document = to_json(claim, replace(certificate, numbers=fits))
        assert read(document).x[0] == value
    for value in (nines + 1, -nines - 1, Fraction(1, nines + 1)):
        assert not printable(replace(numbers, x=np.array([Fraction(value)], dtype=object)))

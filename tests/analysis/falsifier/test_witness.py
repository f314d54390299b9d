"""Witnesses: written, read back, checked from scratch, and never trusted."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from analysis.falsifier import WitnessError, falsify, replay, to_json
from analysis.falsifier.certify import certify
from analysis.falsifier.exact import singular_value_bounds
from analysis.falsifier.intervals import hull, interval
from analysis.falsifier.witness import read
from tests.analysis.falsifier import examples

GOOD: dict[str, Any] = {
    "claim": "theorem1-jacobian",
    "widths": [2, 1],
    "activation": "leaky_relu:0.1",
    "weights": [[["-1/2", "1/2"]]],
    "perturbation": [[["0", "1/4"]]],
    "input": ["1/2", "2/5"],
}
JACOBIAN = "theorem1-jacobian"


def _replay(**changed: Any) -> Any:
    return replay({**GOOD, **changed}, examples.claims()[JACOBIAN])


@pytest.mark.parametrize(
    "id", ["theorem1-jacobian", "path-metric-direct", "lemma2-limit", "deep-relative-trust"]
)
def test_witnesses_survive_the_round_trip(id: str) -> None:
    claim = examples.claims()[id]
    widths = {"theorem1-jacobian": (2, 1), "path-metric-direct": (1, 2, 1)}.get(id, (1, 1))
    certificate = falsify(claim, widths=[widths], most_rounds=4).certificate
    assert certificate is not None
    document = to_json(claim, certificate)
    text = json.dumps(document, allow_nan=False)
    again = replay(json.loads(text), claim)
    assert again.refutes
    assert again.certificate is not None
    assert to_json(claim, again.certificate) == document
    assert len(text) < 2000


def test_numbers_that_follow_from_others_survive_it_too() -> None:
    """The target of agd-majorisation is computed from the network."""
    form = examples.form("agd-majorisation")
    smaller = replace(form, sides=lambda trial: (form.sides(trial)[0], form.sides(trial)[1] * 9 / 10))
    claim = replace(examples.claims()["agd-majorisation"], id="planted", form=smaller)
    certificate = falsify(claim, widths=[(1, 1, 1)], most_rounds=4).certificate
    assert certificate is not None
    assert replay(json.loads(json.dumps(to_json(claim, certificate))), claim).refutes


def test_a_witness_is_checked_from_scratch() -> None:
    assert _replay().refutes
    changed = _replay(
        left=[0, 0], right=[1e9, 1e9], ratio_at_least=1e-9, conditions={}, statement="", premises=1
    )
    assert changed.refutes
    assert float(changed.certificate.left.middle) == pytest.approx(11.7686022959)
    # numbers that were tampered with
    lies = {"left": [100, 101], "right": [1, 1], "ratio_at_least": 100}
    assert not _replay(perturbation=[[["0", "1/100"]]], **lies).refutes
    assert not _replay(input=["1/2", "1/5"], **lies).refutes
    assert not _replay(activation="identity", **lies).refutes
    # at the kink, or outside the premises: nothing is decided
    assert _replay(input=["1/2", "1/2"]).certificate is None
    assert _replay(activation="relu").certificate is None
    assert _replay(activation="leaky_relu:0").certificate is None
    # biases are not the claim's: they do not count
    assert _replay(biases=[["7"]], bias_perturbation=[["9"]]).refutes


def _deep(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "changed",
    [
        {"widths": [2]},
        {"widths": [2, 0]},
        {"widths": [2, 1.0]},
        {"widths": [True, True]},
        {"widths": [10**9, 10**9]},
        {"widths": "2,1"},
        {"widths": None},
        {"widths": [1] * 18},
        {"activation": "gelu"},
        {"activation": None},
        {"activation": "leaky_relu:1e999999999"},
        {"activation": "leaky_relu:-1"},
        {"activation": ["relu"]},
        {"weights": None},
        {"weights": []},
        {"weights": [[["1"]]]},
        {"weights": [["1", "2"]]},
        {"weights": [[["1", "2"], ["3", "4"]]]},
        {"weights": [[["1", "1e999999999"]]]},
        {"weights": [[["1", "1" * 100]]]},
        {"weights": [[["1", 10**70]]]},
        {"weights": [[["1", "1/0"]]]},
        {"weights": [[["1", "nan"]]]},
        {"weights": [[["1", float("nan")]]]},
        {"weights": [[["1", 0.5]]]},
        {"weights": [[["1", True]]]},
        {"weights": [[["1", None]]]},
        {"weights": [[["1", {}]]]},
        {"weights": [[["1", _deep(100_000)]]]},
        {"perturbation": None},
        {"input": None},
        {"input": {"0": "1", "1": "2"}},
        {"input": ["1", "2", "3"]},
        {"input_perturbation": ["1"]},
        {"target": ["1", "2"]},
        {"biases": [["1", "2"]]},
    ],
)
def test_what_is_no_witness(changed: dict[str, Any]) -> None:
    with pytest.raises(WitnessError) as error:
        _replay(**changed)
    assert 0 < len(str(error.value)) < 300


@pytest.mark.parametrize("document", [None, 1, "text", [], [GOOD]])
def test_what_is_no_object(document: Any) -> None:
    with pytest.raises(WitnessError):
        read(document)


def test_a_witness_that_would_take_hours_is_refused() -> None:
    numbers = [[["123456789/987654321"] * 16] * 16]
    with pytest.raises(WitnessError, match="digits"):
        _replay(widths=[16, 16], weights=numbers, perturbation=numbers, input=["1"] * 16)
    # and its paths are not gone through one by one
    ones = [[["1"] * 16] * 16] * 4
    found = replay(
        {
            **GOOD,
            "widths": [16] * 5,
            "activation": "relu",
            "weights": ones,
            "perturbation": ones,
            "input": ["1"] * 16,
        },
        examples.claims()["path-metric-direct"],
    )
    assert found.certificate is None


def test_numbers_are_rounded_outwards() -> None:
    certificate = certify(examples.form(JACOBIAN), read(GOOD))
    assert certificate is not None
    claim = examples.claims()[JACOBIAN]
    for left, right in (
        (Fraction(10) / 3, Fraction(1)),
        (1 + Fraction(5, 10**12), Fraction(1, 3)),
        (Fraction(12345678, 10**7), Fraction(1)),
        (Fraction(2), Fraction(1, 10**400)),
        (Fraction(10**400, 3), Fraction(1)),
    ):
        document = to_json(claim, replace(certificate, left=hull(left, left), right=interval(right)))
        json.dumps(document, allow_nan=False)
        for key, side in (("left", left), ("right", right)):
            low, high = (Fraction(str(end)) for end in document[key])
            assert low <= side <= high
            assert high - low <= side / 10**10
        ratio = Fraction(str(document["ratio_at_least"]))
        assert left / right * Fraction(99998, 100000) <= ratio <= left / right


def test_huge_numbers_are_undecided_or_exact() -> None:
    big = "9" * 60
    found = replay(
        {
            "widths": [1, 1],
            "activation": "tanh",
            "weights": [[[big]]],
            "perturbation": [[[big]]],
            "input": [big],
            "target": ["1"],
        },
        examples.claims()["agd-majorisation"],
    )
    assert not found.refutes
    values = np.array([[Fraction(int(big)), Fraction(1)], [Fraction(1), Fraction(1, int(big))]], dtype=object)
    largest, _ = singular_value_bounds(values)
    assert largest.lower <= int(big) * (1 + Fraction(1, 10**12))

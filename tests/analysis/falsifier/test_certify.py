"""What is false is refuted by certificates, which hold by another computation; nothing else is believed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from analysis.falsifier import Outcome, to_json
from analysis.falsifier.certify import certify
from analysis.falsifier.intervals import interval
from tests.analysis.falsifier import examples
from tests.analysis.falsifier.high_precision import MP, Network, size
from tests.analysis.falsifier.searches import BROKEN, THEOREMS, search
from trust.claims import Kind, all_claims

UNMENDED = ("deep-relative-trust", "deep-relative-trust-fitted", "euclidean-trust", "slice-curvature")
"""Models and estimates: nothing that the claim says of itself makes them true."""


@pytest.fixture(scope="module")
def refuted() -> Callable[[str], Outcome]:
    known: dict[str, Outcome] = {}

    def get(id: str) -> Outcome:
        if id not in known:
            known[id] = search(examples.claims()[id], BROKEN[id], most_rounds=6)
        return known[id]

    return get


@pytest.mark.parametrize("id", BROKEN)
def test_false_claims_are_refuted(id: str, refuted: Callable[[str], Outcome]) -> None:
    found = refuted(id)
    assert found.certificate is not None
    assert found.certificate.refutes
    assert found.certificate.holds
    assert found.worst_log10_ratio > math.log10(1.01)
    ratio = found.certificate.ratio
    assert ratio is None or ratio >= Fraction(101, 100)


def _two_sides(id: str, n: Network) -> tuple[Any, Any]:
    f, moved = n.run(n.W, n.b)[0][-1], n.run(n.V, n.c)[0][-1]
    if id == "theorem1-function":
        return size(moved - f) / size(f), n.constant() * n.trust()
    if id == "theorem1-jacobian":
        before = n.jacobian(n.W, n.b)
        return size(n.jacobian(n.V, n.c) - before) / size(before), n.constant() * n.trust()
    if id == "path-metric-direct":
        distance = sum(abs(a - b) for a, b in zip(n.paths(n.W, n.b), n.paths(n.V, n.c), strict=True))
        return sum(map(abs, moved - f)), max(1, *map(abs, n.x)) * distance
    if id == "deep-relative-trust":
        before = n.gradient(n.W, 0)
        return size(n.gradient(n.V, 0) - before) / size(before), n.trust()
    if id == "deep-relative-trust-fitted":
        per_step = [n.turn(MP.mpf(1) / part) / n.trust(MP.mpf(1) / part) for part in (8, 4, 2)]
        return n.turn(MP.mpf(1)), max(per_step) * n.trust()
    if id == "euclidean-trust":
        per_step = [n.turn(MP.mpf(1) / part) * part for part in (8, 4, 2)]
        return n.turn(MP.mpf(1)), max(per_step)
    if id == "slice-curvature":
        assert n.slope_at(0) < 0
        curvature = (n.slope_at(MP.mpf(1) / 100) - n.slope_at(0)) * 100
        assert curvature < -2 * n.slope_at(0)
        return n.loss(n.V), n.loss(n.W)
    assert n.cosine() > 0
    constant = 1 if id == "lemma2-limit" else n.constant()
    assert max(n.relative()) < (1 + n.cosine() / constant) ** (MP.mpf(1) / len(n.W)) - 1
    return n.loss(n.V), n.loss(n.W)


@pytest.mark.parametrize("id", BROKEN)
def test_certificates_hold_by_another_computation(id: str, refuted: Callable[[str], Outcome]) -> None:
    certificate = refuted(id).certificate
    assert certificate is not None
    document = to_json(examples.claims()[id], certificate)
    left, right = _two_sides(id, Network(document))
    assert left >= right * MP.mpf("1.0099")
    for side, key in ((left, "left"), (right, "right")):
        low, high = document[key]
        assert MP.mpf(repr(low)) - MP.mpf(10) ** -40 <= side <= MP.mpf(repr(high)) + MP.mpf(10) ** -40
        assert high - low <= 1e-10 * max(1.0, abs(high))
    if document["ratio_at_least"] is not None:
        assert MP.mpf(repr(document["ratio_at_least"])) <= left / right


@pytest.mark.parametrize("id", BROKEN)
def test_what_mends_a_refuted_claim_is_a_claim(id: str) -> None:
    claims = examples.claims()
    claim = claims[id]
    if id in UNMENDED:
        assert claim.kind in (Kind.MODEL, Kind.ESTIMATE)
        assert claim.mended_by == ""
    else:
        assert claim.mend
        assert claim.mended_by in THEOREMS
        assert claims[claim.mended_by].kind in (Kind.THEOREM, Kind.LEMMA)
    for other in all_claims().values():
        assert not other.mended_by or other.mended_by in claims


def test_conditions_that_fail_or_are_undecided_certify_nothing() -> None:
    form = examples.form("lemma2-limit")
    good = search(examples.claims()["lemma2-limit"], ((1, 1),), most_rounds=2).certificate
    assert good is not None
    uphill = replace(good.numbers, changes=[-dW for dW in good.numbers.changes])
    far = replace(good.numbers, changes=[100 * dW for dW in good.numbers.changes])
    for numbers in (uphill, far):
        found = certify(form, numbers)
        assert found is not None
        assert not found.holds
        assert not found.refutes
    limit = replace(good, margins={"step size": interval(0)}, strict=frozenset({"step size"}))
    assert not limit.holds
    assert replace(limit, strict=frozenset()).holds
    around = replace(good, margins={"step size": interval(Fraction(1, 3)) - Fraction(1, 3)})
    assert not replace(around, strict=frozenset()).holds
    kink = replace(good.numbers, activation="relu", x=good.numbers.x * 0)
    assert certify(form, kink) is None
    assert certify(form, replace(good.numbers, activation="gelu")) is None
    wide = examples.form("theorem1-function-layerwise")
    assert certify(wide, examples.random_numbers((2, 1), "identity", 0)) is None  # it is not injective


def test_ratios_of_certificates() -> None:
    good = search(examples.claims()["deep-relative-trust"], ((1, 1),), most_rounds=1).certificate
    assert good is not None
    one = interval(1)
    assert replace(good, left=one, right=interval(0)).ratio is None
    assert replace(good, left=one, right=interval(-1)).refutes
    assert replace(good, left=interval(0), right=interval(0)).ratio == 0
    assert not replace(good, left=interval(-1), right=interval(-2)).refutes
    assert not replace(good, left=interval(Fraction(1009, 1000)), right=one).refutes
    assert replace(good, left=interval(Fraction(102, 100)), right=one).refutes

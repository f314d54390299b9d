"""The registry: what is in it, in which order, and how others add to it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

import trust.claims.registry
from analysis import Status, judge
from tests.analysis.synthetic import measured
from tests.trust.claims.examples import CLAIMS, ETAS
from trust.claims import Kind, all_claims


def test_the_claims_are_there_in_order() -> None:
    assert list(CLAIMS) == [
        "theorem1-function",
        "theorem1-function-injective",
        "theorem1-function-layerwise",
        "theorem1-jacobian",
        "theorem1-jacobian-gated",
        "deep-relative-trust",
        "deep-relative-trust-fitted",
        "lemma1",
        "lemma2",
        "lemma2-limit",
        "lemma2-with-constant",
        "lemma2-calibrated",
        "certified-step",
        "slice-curvature",
        "predicted-limit",
        "modular-sharpness",
        "modular-sharpness-scaled",
        "euclidean-trust",
        "pattern-telescoped",
        "pattern-response",
        "input-sensitivity",
        "spectral-product",
        "neyshabur",
        "telescoped",
        "path-metric",
        "path-metric-midpoint",
        "path-metric-direct",
        "linearisation-remainder",
        "agd-majorisation",
        "residual-telescoped",
        "residual-spectral",
        "spectral-condition",
        "spectral-condition-step",
        "gd-edge",
        "adam-edge",
        "sam-edge",
        "stochastic-edge",
        "stochastic-edge-ntk",
        "conservative-sharpening",
        "jacobian-alignment",
    ]
    for claim in CLAIMS.values():
        assert claim.source
        assert claim.statement
        assert claim.left
    kinds = {
        Kind.LEMMA: {
            "lemma1",
            "lemma2",
            "certified-step",
            "modular-sharpness",
            "modular-sharpness-scaled",
        },
        Kind.MODEL: {"deep-relative-trust", "deep-relative-trust-fitted", "euclidean-trust"},
        Kind.RULE: {"lemma2-limit", "lemma2-with-constant", "lemma2-calibrated"},
        Kind.ESTIMATE: {"slice-curvature", "predicted-limit", "spectral-condition", "spectral-condition-step"}
        | {name for name, claim in CLAIMS.items() if claim.trajectory},
    }
    for name, claim in CLAIMS.items():
        assert name in kinds.get(claim.kind, {name}), name
    for kind, names in kinds.items():
        assert names == {name for name, claim in CLAIMS.items() if claim.kind is kind}


def offered(*values: object) -> object:
    entries = [
        SimpleNamespace(name=f"e{k}", value="package:claim", load=lambda v=v: v) for k, v in enumerate(values)
    ]
    return lambda *, group: entries if group == "trust.claims" else []


def test_one_object_through_an_entry_point_adds_a_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = replace(
        CLAIMS["deep-relative-trust"], id="mine", bound=lambda m: CLAIMS["lemma2"].measured(m) * 0 - 9
    )
    other = replace(mine, id="other")
    monkeypatch.setattr(trust.claims.registry, "entry_points", offered(mine, [other]))
    assert list(all_claims()) == [*CLAIMS, "mine", "other"]
    found = {v.claim: v.status for v in judge(measured(ETAS))}
    assert found["mine"] is Status.OFF_BY_FACTOR


def test_entry_points_that_clash_or_are_no_claims_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        trust.claims.registry, "entry_points", offered(replace(CLAIMS["lemma2"], source="me"))
    )
    with pytest.raises(ValueError, match="lemma2 is there already"):
        all_claims()
    monkeypatch.setattr(trust.claims.registry, "entry_points", offered("text"))
    with pytest.raises(ValueError, match="is a str, not a Claim"):
        all_claims()


def test_claims_need_no_torch() -> None:
    code = (
        "import sys; from trust.claims import Kind, all_claims; all_claims(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

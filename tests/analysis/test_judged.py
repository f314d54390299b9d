"""A claim with all that a run says of it: the telling first, its premises as they came out."""

from __future__ import annotations

from dataclasses import replace

from analysis.judged import Group, judged
from analysis.statuses import Status, Verdict
from trust.claims import Claim, Kind, Premise, all_claims

CLAIMS = all_claims()


def verdict(claim: str, status: Status, checkpoint: str | None = "a", **more: object) -> Verdict:
    given: dict[str, object] = {"premises": {}, "worst_log10_ratio": -1.0, **more}
    return Verdict(claim, CLAIMS[claim].kind, checkpoint, status, **given)  # type: ignore[arg-type]


def test_what_is_contradicted_comes_first_and_what_says_nothing_last() -> None:
    verdicts = [
        verdict("path-metric", Status.NOT_MEASURED),
        verdict("lemma1", Status.HOLDS),
        verdict("lemma2", Status.PREMISE_FAILS),
        verdict("lemma2-limit", Status.UNSAFE, worst_log10_ratio=0.5),
        verdict("telescoped", Status.REFUTED, worst_log10_ratio=0.1),
        verdict("spectral-product", Status.USELESS),
    ]
    found = [(one.claim, one.group) for one in judged(verdicts, CLAIMS.values())]
    assert found == [
        ("lemma2-limit", Group.CONTRADICTED.value),
        ("telescoped", Group.CONTRADICTED.value),
        ("lemma1", Group.BORNE_OUT.value),
        ("path-metric", Group.SILENT.value),
        ("lemma2", Group.SILENT.value),
        ("spectral-product", Group.SILENT.value),  # the triangle inequality says more
    ]


def test_one_checkpoint_that_contradicts_is_enough() -> None:
    verdicts = [
        verdict("lemma2-limit", Status.SAFE, "a"),
        verdict("lemma2-limit", Status.UNSAFE, "b", worst_log10_ratio=0.5),
    ]
    (one,) = judged(verdicts, CLAIMS.values())
    assert one.group == Group.CONTRADICTED.value
    assert one.words == "safe (1); unsafe by ×3.2 (1)"
    assert one.checkpoints == [["checkpoint", "verdict"], ["a", "safe"], ["b", "unsafe by ×3.2"]]


def test_statement_formula_and_source_are_the_claims() -> None:
    (one,) = judged([verdict("lemma1", Status.HOLDS)], CLAIMS.values())
    claim = CLAIMS["lemma1"]
    assert (one.statement, one.formula) == (claim.statement, claim.formula)
    assert (one.measures, one.source, one.proved) == (claim.left, claim.source, True)


def test_premises_say_at_how_many_checkpoints_they_hold() -> None:
    premises = (
        Premise("one", "it is one", check=lambda data: data["x"]),
        Premise("two", "it is two", check=lambda data: data["x"], gates=False),
    )
    claim = replace(CLAIMS["lemma1"], premises=premises)
    assert isinstance(claim, Claim)
    assert claim.kind is Kind.LEMMA
    verdicts = [
        verdict("lemma1", Status.HOLDS, "a", premises={"one": True, "two": True}),
        verdict("lemma1", Status.PREMISE_FAILS, "b", premises={"one": False, "two": True}, remark="one: no"),
        verdict("lemma1", Status.PREMISE_FAILS, None, premises={"one": False}),
    ]
    (one,) = judged(verdicts, [claim])
    assert list(one.premises) == [
        ("one", "it is one", "holds (1), fails (2)"),
        ("two", "it is two (shown, not required)", "holds (2), not known (1)"),
    ]
    assert one.checkpoints[0] == ["checkpoint", "verdict", "why"]
    assert one.checkpoints[2][2] == "one: no"
    assert one.checkpoints[3][0] == "whole training run"

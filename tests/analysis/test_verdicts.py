"""Every status from measurements with a known answer, and the rule that decides it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from analysis import Status, find, find_envelopes, judge, step_limits, summarise
from analysis.statuses import in_words
from analysis.tables import verdict_table
from tests.analysis.synthetic import measured
from trust.claims import Claim, Kind, Premise, all_claims

ETAS = (0.0, 0.1, 0.2, 0.3)


def numbers(values: list[float], etas: tuple[float, ...] = ETAS) -> xr.DataArray:
    return xr.DataArray(
        [values], coords={"checkpoint": ["c0"], "eta": list(etas[1:])}, dims=("checkpoint", "eta")
    )


def claim(left: list[float], right: list[float], *premises: list[float], **rest: object) -> Claim:
    """log10 of both sides, and the truth of each premise (1, 0 or NaN), at the three η > 0."""
    checks = tuple(
        Premise(f"p{k}", "", lambda _, t=truth: numbers(t), add="--more")  # type: ignore[misc]
        for k, truth in enumerate(premises)
    )
    return Claim(
        id="test",
        source="",
        statement="",
        left="",
        measured=lambda _: numbers(left),
        bound=lambda _: numbers(right),
        premises=checks,
        **rest,  # type: ignore[arg-type]
    )


def verdict(*arguments: list[float], **rest: object):  # type: ignore[no-untyped-def]
    (found,) = judge(measured(ETAS), [claim(*arguments, **rest)])
    json.dumps(found.to_json(), allow_nan=False)
    return found


NAN, INF = np.nan, np.inf


@pytest.mark.parametrize(
    ("left", "right", "premises", "status"),
    [
        ([0, 0, 0], [1, 0, 2], [], Status.HOLDS),
        ([0, 0, 0], [1, -0.01, 2], [], Status.REFUTED),
        ([0, 0, 0], [1, 1e-3, 2], [[1, 1, 1]], Status.HOLDS),
        ([0, 0, 0], [1, -1, 2], [[1, 0, 1]], Status.HOLDS),  # decided on the points where the premise holds
        ([0, 0, 0], [-1, -1, 2], [[1, 0, 1]], Status.REFUTED),
        ([0, 0, 0], [1, 1, 1], [[0, 0, 0]], Status.PREMISE_FAILS),
        ([0, 0, 0], [-1, 1, 1], [[0, 0, 0]], Status.PREMISE_FAILS),
        ([0, 0, 0], [1, 1, 1], [[1, 1, 0], [0, 0, 1]], Status.PREMISE_FAILS),  # never all at once
        ([0, 0, 0], [1, 1, 1], [[NAN, NAN, NAN]], Status.NOT_MEASURED),
        ([0, 0, 0], [1, 1, 1], [[NAN, NAN, NAN], [0, 0, 0]], Status.PREMISE_FAILS),  # known to fail anyway
        ([0, 0, 0], [1, 1, 1], [[NAN, NAN, NAN], [0, 0, 1]], Status.NOT_MEASURED),
        ([0, 0, 0], [1, 1, 1], [[NAN, 1, NAN]], Status.HOLDS),
        ([0, 0, 0], [7, 6, 90], [], Status.HOLDS),  # however far above: the slack says so
        ([0, 0, 0], [INF, INF, INF], [], Status.VACUOUS),
        ([INF, 0, 0], [INF, INF, INF], [], Status.VACUOUS),
        ([0, 0, 0], [INF, 1, INF], [], Status.HOLDS),
        (
            [0, 0, 0],
            [INF, 1, INF],
            [[1, 0, 1]],
            Status.VACUOUS,
        ),  # where the premises hold, that is all it says
        ([-INF, -INF, -INF], [0, 0, 0], [], Status.HOLDS),  # nothing changed: no measurement to be far below
        ([-INF, -INF, -INF], [INF, INF, INF], [], Status.VACUOUS),
        ([0, 0, 0], [-INF, 0, 0], [], Status.REFUTED),
        ([NAN, NAN, NAN], [0, 0, 0], [], Status.NOT_MEASURED),
        ([0, 0, 0], [NAN, NAN, NAN], [], Status.NOT_MEASURED),
        ([-INF, -INF, -INF], [-INF, -INF, -INF], [], Status.NOT_MEASURED),  # 0 ≤ 0 is no evidence
        ([NAN, NAN, NAN], [0, 0, 0], [[0, 0, 0]], Status.PREMISE_FAILS),
    ],
)
def test_status(left: list[float], right: list[float], premises: list[list[float]], status: Status) -> None:
    assert verdict(left, right, *premises).status is status


def test_missing_numbers_do_not_count() -> None:
    found = verdict([NAN, 0, 0], [0, NAN, -1])
    assert found.status is Status.REFUTED
    assert found.holds_fraction == 0  # of the one point that has both sides
    assert found.worst_log10_ratio == pytest.approx(1)
    assert found.worst_at == {"eta": 0.3}


def test_numbers_are_of_the_points_that_decided() -> None:
    found = verdict([0, 0, 0], [1, -5, 2], [1, 0, 1])
    assert (found.holds_fraction, found.worst_log10_ratio, found.worst_at) == (1, -1, {"eta": 0.1})
    assert found.premises == {"p0": True}
    assert "67%" in found.remark
    assert "p0" in found.remark


def test_a_refutation_has_all_its_premises() -> None:
    found = verdict([0, 0, 0], [-1, -5, 2], [1, 0, 1], [1, 1, NAN])
    assert found.status is Status.REFUTED
    assert found.premises == {"p0": True, "p1": True}
    assert found.holds_fraction == 0


@pytest.mark.parametrize(
    ("right", "words"),
    [([1, 1, 1], "holds all the same"), ([1, -1, 1], "inequality fails"), ([INF, INF, INF], "vacuous")],
)
def test_a_failed_premise_tells_the_inequality(right: list[float], words: str) -> None:
    found = verdict([0, 0, 0], right, [0, 0, 0], [1, 1, 1])
    assert found.premises == {"p0": False, "p1": True}
    assert found.remark.startswith("p0: ")
    assert words in found.remark


def test_a_failed_premise_without_numbers_says_no_more() -> None:
    found = verdict([NAN] * 3, [NAN] * 3, [0, 0, 0])  # noise may have no part in it
    assert (found.status, found.remark) == (Status.PREMISE_FAILS, "p0: the inequality has no number here")


def test_an_open_premise_says_what_to_add() -> None:
    found = verdict([0, 0, 0], [1, 1, 1], [NAN, NAN, NAN])
    assert found.premises == {"p0": None}
    assert "p0: not known, add --more" in found.remark


def test_a_missing_variable_says_what_to_add() -> None:
    found = verdict([0, 0, 0], [1, 1, 1], [1, 0, 1], needs=("nowhere",), add="--this")
    assert (found.status, found.remark) == (Status.NOT_MEASURED, "add --this")
    assert found.premises == {"p0": False}


def test_noise_refutes_nothing() -> None:
    kwargs = {"log10_allowance": lambda _: numbers([0.1, 0.1, NAN])}
    assert verdict([0.09, 0, 0], [0, 0, 0], **kwargs).status is Status.HOLDS
    assert verdict([0.11, 0, 0], [0, 0, 0], **kwargs).status is Status.REFUTED
    assert (
        verdict([0, 0, 0.01], [0, 0, 0], **kwargs).status is Status.REFUTED
    )  # nothing allowed where not known


def test_constants_that_json_cannot_hold_become_null() -> None:
    for log10, constant in ((np.inf, None), (np.nan, None), (400.0, None), (2.0, 100.0), (-np.inf, 0.0)):
        number = xr.DataArray([log10], coords={"checkpoint": ["c0"]}, dims="checkpoint")
        content = verdict([0, 0, 0], [1, 1, 1], log10_constant=lambda _, n=number: n).to_json()
        assert content["constant"] == (pytest.approx(constant) if constant is not None else None)


def test_each_checkpoint_is_judged_alone() -> None:
    good = measured(relative_perturbation=1.0)
    bad = measured(relative_perturbation=1e-9).assign_coords(checkpoint=["c1"])
    joined = xr.concat([good, bad], dim="checkpoint")
    found = {v.checkpoint: v.status for v in judge(joined) if v.claim == "deep-relative-trust"}
    assert found == {"c0": Status.WITHIN_FACTOR, "c1": Status.OFF_BY_FACTOR}


def test_a_claim_about_a_trajectory_is_judged_once() -> None:
    """At three checkpoints, of which a premise leaves out the first."""
    runs = [measured(ETAS).assign_coords(checkpoint=[f"c{k}"]) for k in range(3)]
    joined = xr.concat(runs, dim="checkpoint")

    def through_training(values: list[float]) -> xr.DataArray:
        return xr.DataArray(values, {"checkpoint": joined["checkpoint"]}, ("checkpoint",))

    whole = replace(
        claim([], []),
        kind=Kind.ESTIMATE,
        trajectory=True,
        measured=lambda _: through_training([5.0, -0.1, 0.3]),
        bound=lambda _: through_training([0.0, 0.0, 0.0]),
        premises=(Premise("from there on", "", lambda _: through_training([0.0, 1.0, 1.0])),),
    )
    (found,) = judge(joined, [whole])
    assert (found.checkpoint, found.to_json()["checkpoint"]) == (None, None)
    assert found.words == "within ×0.79 to ×2"
    assert found.worst_at == {"moment": "c2"}
    table = verdict_table([found])
    assert table[1][2] == "within ×0.79 to ×2 (training)"
    (never,) = judge(joined, [replace(whole, needs=("not_there",), add="`curvature=1`")])
    assert (never.checkpoint, never.status) == (None, Status.NOT_MEASURED)


@pytest.mark.parametrize(
    ("kind", "left", "status", "words"),
    [
        (Kind.THEOREM, [-2, -1, -0.5], Status.HOLDS, "holds, 0.5 orders to spare (median 1.0)"),
        (Kind.LEMMA, [-2, 1, -0.5], Status.REFUTED, "refuted"),
        (Kind.MODEL, [-2, -1, -0.5], Status.WITHIN_FACTOR, "within a factor of 1"),
        (Kind.MODEL, [-2, 0.3, -0.5], Status.WITHIN_FACTOR, "within a factor of 2"),
        (Kind.MODEL, [0, 1, 0], Status.WITHIN_FACTOR, "within a factor of 2 up to η = 0.1, then off by 10"),
        (Kind.MODEL, [0.5, 1, 0], Status.OFF_BY_FACTOR, "off by a factor of 10, worst at η = 0.2"),
        (Kind.ESTIMATE, [-1, 0, 0.5], Status.WITHIN, "within ×0.1 to ×3.2"),
        (Kind.RULE, [-1, 0, -0.5], Status.SAFE, "safe"),
        (Kind.RULE, [-1, 0.6, -0.5], Status.UNSAFE, "unsafe by ×4"),
        (Kind.RULE, [-1, -NAN, INF], Status.UNSAFE, "unsafe by ×∞"),
    ],
)
def test_each_kind_has_its_own_words(kind: Kind, left: list[float], status: Status, words: str) -> None:
    """log10(measured / bound) at η = 0.1, 0.2, 0.3."""
    found = verdict(left, [0, 0, 0], kind=kind)
    assert (found.status, found.words) == (status, words)
    assert (found.to_json()["kind"], found.to_json()["status"]) == (kind.value, status.value)


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in (Kind.THEOREM, Kind.LEMMA)])
def test_only_a_theorem_or_a_lemma_is_refuted(kind: Kind) -> None:
    assert verdict([5, 5, 5], [0, 0, 0], kind=kind).status is not Status.REFUTED


def test_what_the_triangle_inequality_beats_is_useless() -> None:
    for trivial, expected in ([1.9, 1.9, 1.9], Status.USELESS), ([1.9, 2.0, NAN], Status.HOLDS):
        found = verdict([0, 0, 0], [2, 2, 2], trivial=lambda _, t=trivial: numbers(t))
        assert found.status is expected
    for kind in (Kind.MODEL, Kind.RULE):  # it is no bound that one would use
        found = verdict([0, 0, 0], [2, 2, 2], trivial=lambda _: numbers([1, 1, 1]), kind=kind)
        assert found.status is not Status.USELESS


def test_a_premise_that_does_not_gate_is_shown_all_the_same() -> None:
    shown = Premise("shown", "", lambda _: numbers([0, 0, 0]), gates=False)
    mine = replace(claim([0, 0, 0], [1, 1, 1], [1, 1, 1], kind=Kind.RULE), premises=(shown,))
    (found,) = judge(measured(ETAS), [mine])
    assert (found.status, found.premises, found.remark) == (Status.SAFE, {"shown": False}, "")


def test_words_of_several_checkpoints_span_their_numbers() -> None:
    many = [verdict([value] * 3, [0, 0, 0], kind=Kind.RULE) for value in (1, 0.6)]
    assert in_words(many) == "unsafe by ×4 to ×10"
    many = [verdict([value] * 3, [0, 0, 0], kind=Kind.ESTIMATE) for value in (-0.1, 0.1)]
    assert in_words(many) == "within ×0.79 to ×1.3"


def test_a_model_that_stops_at_some_checkpoints_says_at_how_many() -> None:
    many = [verdict([0, 0, value], [0, 0, 0], kind=Kind.MODEL) for value in (0.1, 1.0, 2.5)]
    assert in_words(many[:1]) == "within a factor of 1.3"
    assert in_words(many) == "within a factor of 2; 2 of them only up to η = 0.2, then off by 10 to 316"


def test_claims_are_chosen_by_name_or_themselves() -> None:
    run = measured(ETAS)
    (found,) = judge(run, ["lemma1"])
    assert found.claim == "lemma1"
    assert [judge(run, "lemma1"), judge(run, [all_claims()["lemma1"]])] == [[found]] * 2
    assert len(judge(run)) == len(all_claims())
    with pytest.raises(ValueError, match="'lema1': there is no such claim; did you mean lemma1"):
        judge(run, ["lema1"])
    assert {one.claim for one in find(run, title="", claims=["lemma1"]).verdicts} == {"lemma1"}


@pytest.mark.parametrize("given", ["resA", None, xr.Dataset({"a": ("x", [1])})])
def test_what_are_no_measurements_is_said_in_a_line(given: object) -> None:
    for call in (judge, summarise, step_limits, find_envelopes):
        with pytest.raises(ValueError, match=r"without measurements; give the dataset that probes\.load"):
            call(given)  # type: ignore[operator]

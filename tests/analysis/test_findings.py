"""Findings hold what each part of the analysis says of the same measurements, and say it in words and JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import xarray as xr

from analysis import check_measurements, find, judge, step_limits, summarise
from analysis.documents import claim_rows, limit_rows, verdict_rows
from analysis.wording import number, power, span
from probes.cli.reports import self_check_lines, terminal_summary
from tests.analysis.synthetic import measured
from trust.claims import Quantity, all_claims

ETAS = np.array([0.0, 0.001, 0.01, 0.05])
ATTRIBUTES = {"biases_moved": "true", "number_of_examples": 7, "direction": "gradient", "dtype": "float64"}


def run(**replaced: object) -> xr.Dataset:
    return measured(ETAS, **replaced).assign_attrs(ATTRIBUTES)  # type: ignore[arg-type]


def test_every_part_is_of_the_given_measurements_and_claims() -> None:
    claims = [all_claims()[name] for name in ("lemma2", "theorem1-jacobian", "path-metric")]
    found = find(run(), title="a net", claims=claims)
    assert (found.title, found.history, found.slack, found.warnings) == ("a net", None, None, [])
    assert list(found.verdicts) == judge(run(), claims)
    assert list(found.checks) == check_measurements(run())
    xr.testing.assert_identical(found.limits, step_limits(run()))
    xr.testing.assert_identical(found.summary, summarise(run()))
    assert list(found.envelopes) == ["theorem1-jacobian"]  # a limit has no eta; no paths were counted
    assert [verdict.claim for verdict in find(run(), title="").verdicts] == list(all_claims())


def test_what_was_measured_is_said_and_every_section_is_a_whole_table() -> None:
    found = find(run(noise_floor=0.0123), title="a net")
    told = dict(found.probed)
    assert told["data"] == "7 examples of unknown data"
    assert told["moved"] == "against its gradient"
    assert told["η"] == "4 values, 0 and 0.001 to 0.05"
    assert told["arithmetic"] == "float64"
    assert "batch norm" not in told
    assert "(float64): 0.012;" in found.introduction[0]
    headings = [heading for heading, _, _ in found.sections]
    assert headings[:2] == ["Verdicts", "Step limits"]
    assert len(headings) == 8  # without the slack, which was not measured
    for _, _, rows in found.sections:
        assert len({len(row) for row in rows}) == 1
        assert len(rows) > 1
    assert [row[0] for row in found.sections[0][2][1:]] == list(all_claims())


def test_documents_are_json_without_numbers_that_are_not_finite() -> None:
    found = find(run(step_limit=np.nan), title="a net", claims=[all_claims()["lemma2"]])
    (limits,) = limit_rows(found.measurements, found.limits)
    assert limits["measured"] is None
    assert limits["depth"] == 2
    other = find(run(), title="another", claims=[all_claims()["lemma2"]])
    assert "network" not in verdict_rows([found])[0]
    assert [row["network"] for row in verdict_rows([found, other])] == ["a net", "another"]
    rows = [limits, *verdict_rows([found, other]), *claim_rows(all_claims().values())]
    json.dumps(rows, allow_nan=False)


def test_a_failed_check_is_an_alarm_of_its_own_name_and_none_where_all_hold() -> None:
    assert find(run(), title="a net", claims=[]).alarms == []
    wrong = run()
    wrong["loss"] = wrong["loss"] * (1 - 0.5 * (wrong["eta"] > 0))
    wrong["gradient_difference"] = wrong["gradient_difference"] * 3
    alarms = find(wrong, title="a net", claims=[]).alarms
    assert [line.split(" (")[0] for line in alarms] == ["self-check integral", "self-check cosines"]
    assert all(
        "is violated" in line and "at c0" in line and "trust no number of it" in line for line in alarms
    )


def test_an_alarm_stands_above_everything_else_on_the_terminal() -> None:
    wrong = run()
    wrong["gradient_difference"] = wrong["gradient_difference"] * 3
    found = find(wrong, title="a net", claims=[all_claims()["lemma2"]])
    lines = terminal_summary(found).splitlines()
    assert lines[1].startswith("ALARM: self-check cosines")
    assert self_check_lines(found.checks).startswith("ALARM: self-check cosines")
    (row,) = (line for line in lines if line.startswith("law of cosines"))
    assert "is violated (1)" in row


def test_numbers_in_words() -> None:
    assert (number(99.7, 2), number(99.4, 2), number(999.96)) == ("100", "99", "1000")
    assert [number(value) for value in (np.nan, np.inf, -np.inf, -1234.5, 1e-9)] == [
        "–",
        "∞",
        "−∞",
        "−1230",
        "1e−09",
    ]
    assert [power(value) for value in (0.0, 5.0, 300.0, -7.25, np.inf)] == [
        "1",
        "1e+05",
        "10^300",
        "10^−7.25",
        "∞",
    ]
    assert [span(values) for values in ([np.nan], [2.0, 2.0001], [3.0, np.nan, 1.0])] == ["–", "2", "1 to 3"]


def test_each_claim_is_asked_once_for_each_of_its_sides() -> None:
    claim = all_claims()["theorem1-function"]
    asked: list[str] = []

    def counting(name: str, side: Quantity) -> Quantity:
        def counted(measurements: xr.Dataset) -> xr.DataArray:
            asked.append(name)
            return side(measurements)

        return counted

    own = replace(claim, measured=counting("measured", claim.measured), bound=counting("bound", claim.bound))
    with_it = find(run(), title="a net", claims=[own])
    assert sorted(asked) == ["bound", "measured"]
    assert list(with_it.verdicts) == judge(run(), [claim])

"""Verdicts for pandas: every number of every verdict, in columns of one kind."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import probes
from analysis import Status, Verdict, judge, table
from trust.claims import Kind


def test_a_row_is_a_verdict(measured: Path) -> None:
    verdicts = judge(probes.load(measured))
    found = table(verdicts)
    assert len(found) == len(verdicts) > 30
    for verdict, (_, row) in zip(verdicts, found.iterrows(), strict=True):
        assert (row.claim, row.kind) == (verdict.claim, verdict.kind.value)
        # of a whole training run there is none
        assert pd.isna(row.checkpoint) if verdict.checkpoint is None else row.checkpoint == verdict.checkpoint
        assert (row.status, row.words, row.remark) == (verdict.status.value, verdict.words, verdict.remark)
        for name in (
            "holds_fraction",
            "worst_log10_ratio",
            "median_log10_ratio",
            "good_to",
            "log10_constant",
        ):
            np.testing.assert_equal(row[name], getattr(verdict, name))
        np.testing.assert_equal(row.worst_eta, verdict.worst_at.get("eta", math.nan))
    (trust,) = found[
        (found.claim == "deep-relative-trust") & (found.checkpoint == verdicts[2].checkpoint)
    ].itertuples()
    assert trust.constant == pytest.approx(10**trust.log10_constant)
    assert found.constant.dtype == found.worst_eta.dtype == np.float64
    by_claim = found.groupby("claim").worst_log10_ratio.max()
    assert set(by_claim.index) == {verdict.claim for verdict in verdicts}


def test_premises_are_named() -> None:
    premises = {"fine": True, "broken": False, "torn": False, "dark": None}
    verdict = Verdict("c", Kind.MODEL, "last", Status.PREMISE_FAILS, premises, log10_constant=400.0)
    (row,) = table([verdict]).itertuples()
    assert (row.premises_failing, row.premises_unknown) == ("broken, torn", "dark")
    assert row.constant == math.inf


def test_no_verdict_is_an_empty_table_with_all_columns() -> None:
    empty = table([])
    assert isinstance(empty, pd.DataFrame)
    assert len(empty) == 0
    assert {"claim", "status", "worst_log10_ratio", "worst_layer"} <= set(empty.columns)

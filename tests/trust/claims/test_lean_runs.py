"""Runs that measured little are judged by all claims."""

from __future__ import annotations

import json

from analysis import judge
from tests.trust.claims.examples import CLAIMS, real


def test_restricted_and_lean_runs_are_judged_without_a_traceback() -> None:
    for rest in ({"layers": "first"}, {"limit": False, "curvature": None}, {"biases": True}):
        measurements, _ = real((5, 4, 3), "relu", direction="gradient", **rest)
        found = judge(measurements)
        assert {v.claim for v in found} == set(CLAIMS)
        json.dumps([v.to_json() for v in found], allow_nan=False)

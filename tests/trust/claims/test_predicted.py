"""The predicted limit's claim: both sides, and where there is no evidence."""

from __future__ import annotations

import numpy as np
import pytest

from analysis import Status
from tests.analysis.synthetic import measured
from tests.trust.claims.examples import ETAS, verdict


@pytest.mark.parametrize("share", [0.8, 1.0, 1.3])
def test_an_estimate_is_near_or_far(share: float) -> None:
    found = verdict("predicted-limit", measured(ETAS, step_limit=0.1, predicted_limit=0.1 * share))
    assert found.status is Status.WITHIN
    assert found.worst_log10_ratio == pytest.approx(np.log10(share), abs=1e-12)


def test_without_either_there_is_no_evidence() -> None:
    for left_out in ("predicted_limit", "step_limit"):
        found = verdict("predicted-limit", measured(ETAS, drop=(left_out,)))
        assert found.status is Status.NOT_MEASURED
        assert "`limit=False`" in found.remark
    for unknown in ({"step_limit": np.nan}, {"step_limit": 0.0, "predicted_limit": 0.0}):
        assert verdict("predicted-limit", measured(ETAS, **unknown)).status is Status.NOT_MEASURED

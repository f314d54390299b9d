"""The step limits against closed forms: what is claimed, what was measured, and the premises."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from analysis import Status
from tests.analysis.synthetic import measured
from tests.trust.claims.examples import ETAS, status, verdict


def test_lemma2_against_the_measured_limit() -> None:
    limit = 2**0.5 - 1
    for where, expected in ((2 * limit, Status.HOLDS), (0.5 * limit, Status.REFUTED), (1e7, Status.VACUOUS)):
        found = verdict("lemma2", measured(ETAS, step_limit=where))
        assert found.status is expected
        assert found.worst_log10_ratio == pytest.approx(np.log10(limit / where))
    assert (
        status("lemma2", measured(ETAS, step_limit=0.997 * limit)) is Status.HOLDS
    )  # as near as it is searched
    assert status("lemma2", measured(ETAS, step_limit=0.0)) is Status.REFUTED


def test_a_loss_that_never_returned() -> None:
    far = measured(ETAS, step_limit=np.nan, step_limit_searched_to=8.0)
    assert status("lemma2", far) is Status.HOLDS
    near = verdict("lemma2", measured(ETAS, step_limit=np.nan, step_limit_searched_to=0.1))
    assert (near.status, near.worst_log10_ratio) == (Status.NOT_MEASURED, pytest.approx(np.nan, nan_ok=True))


def test_limits_without_a_search_say_so() -> None:
    for claim in ("lemma2", "lemma2-with-constant", "lemma2-calibrated", "slice-curvature"):
        found = verdict(claim, measured(ETAS, drop=("step_limit", "step_limit_searched_to")))
        assert found.status is Status.NOT_MEASURED
        assert "--no-limit" in found.remark


def test_descent_premise() -> None:
    for cosines in ([-0.1, 1.0], [0.0, 1.0], [np.nan, 1.0], [np.nan, np.nan]):
        found = verdict("lemma2", measured(ETAS, perturbation_cosine=cosines, step_limit=1.0))
        assert (found.status, found.premises["descent direction"]) == (Status.PREMISE_FAILS, False)
    still = measured(ETAS).perturbation_norm.values.copy()
    still[..., 0] = 0  # no angle, but it does not move either
    resting = measured(ETAS, perturbation_cosine=[np.nan, 1.0], perturbation_norm=still, step_limit=1.0)
    assert status("lemma2", resting) is Status.HOLDS


def test_step_size_premise() -> None:
    found = verdict("lemma2", measured(ETAS, relative_perturbation=2 * ETAS[None, :, None], step_limit=1.0))
    assert (found.status, found.premises["step size"]) == (Status.PREMISE_FAILS, False)
    assert (
        status("lemma2", measured(ETAS, relative_perturbation=np.inf, step_limit=1.0)) is Status.PREMISE_FAILS
    )


def test_lemma2_with_theorem1s_constant() -> None:
    C = 18.0**2
    found = verdict("lemma2-with-constant", measured(ETAS, step_limit=1.0))
    assert found.log10_constant == pytest.approx(np.log10(C))
    assert found.worst_log10_ratio == pytest.approx(np.log10((1 + 1 / C) ** 0.5 - 1))
    assert found.status is Status.HOLDS
    nothing = verdict("lemma2-with-constant", measured(ETAS, condition_number=np.inf))
    assert nothing.status is Status.VACUOUS
    assert nothing.to_json()["constant"] is None


def calibrated(growth: float, **replaced: object) -> xr.Dataset:
    """C_l(η) = 4 (1 + growth·η)."""
    D = np.expm1(2 * np.log1p(ETAS))
    return measured(ETAS, gradient_change=(4 * (1 + growth * ETAS) * D)[None, :, None], **replaced)  # type: ignore[arg-type]


def test_calibrated_limit_and_its_premise() -> None:
    limit = 1.25**0.5 - 1  # 0.118: all η are inside
    found = verdict("lemma2-calibrated", calibrated(0.0, step_limit=1.0))
    assert (found.status, found.log10_constant) == (Status.HOLDS, pytest.approx(np.log10(4)))
    assert found.worst_log10_ratio == pytest.approx(np.log10(limit))
    assert status("lemma2-calibrated", calibrated(0.0, step_limit=0.01)) is Status.REFUTED
    faster = verdict("lemma2-calibrated", calibrated(1.0, step_limit=0.01))
    assert (faster.status, faster.premises["no faster than C·D"]) == (Status.PREMISE_FAILS, False)
    assert "inequality fails" in faster.remark
    assert status("lemma2-calibrated", calibrated(-1.0, step_limit=1.0)) is Status.HOLDS


def test_calibrated_limit_is_open_where_nothing_was_measured_below_it() -> None:
    steep = measured(ETAS, gradient_change=1e5 * ETAS[None, :, None], step_limit=1.0)  # limit far below 0.001
    found = verdict("lemma2-calibrated", steep)
    assert (found.status, found.premises["no faster than C·D"]) == (Status.NOT_MEASURED, None)
    assert "smaller η" in found.remark
    change = calibrated(0.0).gradient_change.values.copy()
    change[..., 1] = np.nan  # --layers first
    assert (
        status("lemma2-calibrated", measured(ETAS, gradient_change=change, step_limit=1.0))
        is Status.NOT_MEASURED
    )


def test_slice_curvature() -> None:
    exact = measured(ETAS)
    limit = float(exact.step_limit[0])
    assert status("slice-curvature", exact) is Status.HOLDS  # a parabola: equality
    assert status("slice-curvature", measured(ETAS, step_limit=0.9 * limit)) is Status.REFUTED
    coarse = verdict("slice-curvature", measured((0.0, 0.6 * limit), step_limit=0.9 * limit))
    assert (coarse.status, coarse.premises["small step"]) == (Status.PREMISE_FAILS, False)
    assert status("slice-curvature", measured(ETAS, slope=np.nan)) is Status.NOT_MEASURED
    slope = float(exact.slope_at_zero[0])
    concave = measured(ETAS, slope=slope * (1 + ETAS), step_limit=1.0)
    assert status("slice-curvature", concave) is Status.REFUTED  # promises descent for ever
    flat = measured(ETAS, slope=slope * (1 + ETAS), step_limit=np.nan, step_limit_searched_to=8.0)
    assert status("slice-curvature", flat) is Status.NOT_MEASURED

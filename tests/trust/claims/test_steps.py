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
    for where, expected in ((2 * limit, Status.SAFE), (0.5 * limit, Status.UNSAFE), (1e7, Status.SAFE)):
        found = verdict("lemma2-limit", measured(ETAS, step_limit=where))
        assert found.status is expected
        assert found.worst_log10_ratio == pytest.approx(np.log10(limit / where))
    assert verdict("lemma2-limit", measured(ETAS, step_limit=0.5 * limit)).words == "unsafe by ×2"
    assert (
        status("lemma2-limit", measured(ETAS, step_limit=0.997 * limit)) is Status.SAFE
    )  # as near as it is searched
    assert status("lemma2-limit", measured(ETAS, step_limit=0.0)) is Status.UNSAFE


def trusting(constant: float, **replaced: object) -> xr.Dataset:
    """A gradient that breaks down by ``constant`` times what deep relative trust says."""
    D = np.expm1(2 * np.log1p(ETAS))
    return measured(ETAS, gradient_change=(constant * D)[None, :, None], **replaced)  # type: ignore[arg-type]


def test_lemma2_is_credited_with_its_premise() -> None:
    limit = 2**0.5 - 1
    for constant, where, lemma, rule in (
        (0.9, 2 * limit, Status.HOLDS, Status.SAFE),
        (0.9, 0.5 * limit, Status.REFUTED, Status.UNSAFE),
        (1.1, 2 * limit, Status.PREMISE_FAILS, Status.SAFE),
        (1.1, 0.5 * limit, Status.PREMISE_FAILS, Status.UNSAFE),  # the rule's fault, not the lemma's
    ):
        run = trusting(constant, step_limit=where)
        found = [verdict(claim, run) for claim in ("lemma2", "lemma2-limit")]
        assert [one.status for one in found] == [lemma, rule]
        assert [one.premises["no faster than D"] for one in found] == [constant < 1] * 2


def test_what_is_safe_says_how_closely_it_was_looked_at() -> None:
    searched = {"step_limit_searched_from": 1e-4, "step_limit_resolution": 1.8, "step_limit_clear_to": 0.7}
    for claim, constant in (("lemma2", 0.9), ("lemma2-limit", 1.1)):
        found = verdict(claim, trusting(constant, step_limit=0.7, **searched))
        assert found.remark == "seen from η = 0.0001 to 0.7, at least every ×1.8"
        unclear = verdict(
            claim, trusting(constant, step_limit=0.7, **{**searched, "step_limit_clear_to": 0.2})
        )
        assert unclear.remark.endswith("beyond 0.2 an earlier return remains possible")
    assert "seen from" not in verdict("lemma2-limit", trusting(1.0, step_limit=0.01, **searched)).remark


def test_a_loss_that_never_returned() -> None:
    far = measured(ETAS, step_limit=np.nan, step_limit_searched_to=8.0)
    assert status("lemma2-limit", far) is Status.SAFE
    near = verdict("lemma2-limit", measured(ETAS, step_limit=np.nan, step_limit_searched_to=0.1))
    assert (near.status, near.worst_log10_ratio) == (Status.NOT_MEASURED, pytest.approx(np.nan, nan_ok=True))


def test_limits_without_a_search_say_so() -> None:
    for claim in ("lemma2", "lemma2-limit", "lemma2-with-constant", "lemma2-calibrated", "slice-curvature"):
        found = verdict(claim, measured(ETAS, drop=("step_limit", "step_limit_searched_to")))
        assert found.status is Status.NOT_MEASURED
        assert "`limit=False`" in found.remark


def test_descent_premise() -> None:
    for cosines in ([-0.1, 1.0], [0.0, 1.0], [np.nan, 1.0], [np.nan, np.nan]):
        found = verdict("lemma2-limit", measured(ETAS, perturbation_cosine=cosines, step_limit=1.0))
        assert (found.status, found.premises["descent direction"]) == (Status.PREMISE_FAILS, False)
    still = measured(ETAS).perturbation_norm.values.copy()
    still[..., 0] = 0  # no angle, but it does not move either
    resting = measured(ETAS, perturbation_cosine=[np.nan, 1.0], perturbation_norm=still, step_limit=1.0)
    assert status("lemma2-limit", resting) is Status.SAFE


def test_step_size_premise() -> None:
    found = verdict(
        "lemma2-limit", measured(ETAS, relative_perturbation=2 * ETAS[None, :, None], step_limit=1.0)
    )
    assert (found.status, found.premises["step size"]) == (Status.PREMISE_FAILS, False)
    assert (
        status("lemma2-limit", measured(ETAS, relative_perturbation=np.inf, step_limit=1.0))
        is Status.PREMISE_FAILS
    )


def test_lemma2_with_theorem1s_constant() -> None:
    C = 18.0**2
    found = verdict("lemma2-with-constant", measured(ETAS, step_limit=1.0))
    assert found.log10_constant == pytest.approx(np.log10(C))
    assert found.worst_log10_ratio == pytest.approx(np.log10((1 + 1 / C) ** 0.5 - 1))
    assert found.status is Status.SAFE
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
    assert (found.status, found.log10_constant) == (Status.SAFE, pytest.approx(np.log10(4)))
    assert found.worst_log10_ratio == pytest.approx(np.log10(limit))
    assert status("lemma2-calibrated", calibrated(0.0, step_limit=0.01)) is Status.UNSAFE
    faster = verdict("lemma2-calibrated", calibrated(1.0, step_limit=0.01))
    assert (faster.status, faster.premises["no faster than C·D"]) == (Status.UNSAFE, False)
    assert status("lemma2-calibrated", calibrated(-1.0, step_limit=1.0)) is Status.SAFE


@pytest.mark.parametrize(
    ("etas", "judged"),
    [
        ((0.0, 0.001, 0.2, 0.3), False),  # inside there is only the η that C was read from
        ((0.0, 0.001, 0.01, 0.2), False),
        ((0.0, 0.001, 0.01, 0.1), True),
    ],
)
def test_calibrated_limit_takes_two_etas_beside_the_one_that_it_was_read_from(
    etas: tuple[float, ...], judged: bool
) -> None:
    D = np.expm1(2 * np.log1p(np.array(etas)))
    run = measured(etas, gradient_change=(4 * D)[None, :, None], step_limit=1.0)
    found = verdict("lemma2-calibrated", run)
    assert found.status is (Status.SAFE if judged else Status.NOT_MEASURED)
    if not judged:  # the search was made, and is not asked for
        assert "it takes two η inside" in found.remark
        assert "`etas`" in found.remark
        assert "`limit=" not in found.remark


def test_calibrated_limit_is_open_where_nothing_was_measured_below_it() -> None:
    steep = measured(ETAS, gradient_change=1e5 * ETAS[None, :, None], step_limit=1.0)  # limit far below 0.001
    found = verdict("lemma2-calibrated", steep)
    assert (found.status, found.premises["no faster than C·D"]) == (Status.NOT_MEASURED, None)
    assert "`etas`" in found.remark
    change = calibrated(0.0).gradient_change.values.copy()
    change[..., 1] = np.nan  # --layers first
    found = verdict("lemma2-calibrated", measured(ETAS, gradient_change=change, step_limit=1.0))
    assert (found.status, found.premises["no faster than C·D"]) == (Status.SAFE, None)


def test_slice_curvature() -> None:
    exact = measured(ETAS)
    limit = float(exact.step_limit[0])
    found = verdict("slice-curvature", exact)  # a parabola: equality
    assert (found.status, found.words) == (Status.WITHIN, "×1")
    found = verdict("slice-curvature", measured(ETAS, step_limit=0.8 * limit))
    assert (found.status, found.words) == (Status.WITHIN, "×1.2")
    assert 10**found.worst_log10_ratio == pytest.approx(1.25)
    # the exact curvature is that at η = 0; slopes compared too far out are not
    apart = {"etas": (0.0, 0.6 * limit), "step_limit": 0.9 * limit}
    assert status("slice-curvature", measured(**apart)) is Status.WITHIN  # type: ignore[arg-type]
    coarse = verdict("slice-curvature", measured(**apart, curvature=np.nan))  # type: ignore[arg-type]
    assert (coarse.status, coarse.premises["small step"]) == (Status.PREMISE_FAILS, False)
    unknown = measured(ETAS, slope=np.nan, curvature=np.nan)
    assert status("slice-curvature", unknown) is Status.NOT_MEASURED
    slope = float(exact.slope_at_zero[0])
    for where in ({"step_limit": 1.0}, {"step_limit": np.nan, "step_limit_searched_to": 8.0}):
        for concave in ({"curvature": -1.0}, {"curvature": np.nan, "slope": slope * (1 + ETAS)}):
            found = measured(ETAS, **concave, **where)  # type: ignore[arg-type]
            assert status("slice-curvature", found) is Status.NOT_MEASURED  # it says nothing
    unseen = measured(ETAS, step_limit=np.nan, step_limit_searched_to=8.0)
    assert status("slice-curvature", unseen) is Status.NOT_MEASURED

"""Deep relative trust, Lemma 1 and the Euclidean model against closed forms and on a real slice."""

from __future__ import annotations

import json

import numpy as np
import pytest

from analysis import Status, judge
from tests.analysis.synthetic import measured
from tests.trust.claims.examples import ETAS, real, status, verdict


def test_deep_relative_trust_is_judged_by_its_constant() -> None:
    D = np.expm1(2 * np.log1p(ETAS))
    for constant, expected in (
        (0.9, Status.WITHIN_FACTOR),
        (1.9, Status.WITHIN_FACTOR),
        (2.1, Status.OFF_BY_FACTOR),
        (1e-8, Status.WITHIN_FACTOR),
    ):
        found = verdict("deep-relative-trust", measured(ETAS, gradient_change=constant * D[None, :, None]))
        assert found.status is expected
        assert found.log10_constant == pytest.approx(np.log10(constant))
        assert found.worst_log10_ratio == pytest.approx(np.log10(constant))
        assert found.good_to == pytest.approx(ETAS[-1] if constant < 2 else np.nan, nan_ok=True)
    near = measured(ETAS, gradient_change=2.1 * D[None, :, None], noise_floor=0.09 * D[-1])
    assert status("deep-relative-trust", near) is Status.WITHIN_FACTOR  # within its noise
    assert status("deep-relative-trust", measured(ETAS, noise_floor=1e9)) is Status.NOT_MEASURED
    assert status("deep-relative-trust", measured(ETAS, gradient_change=np.inf)) is Status.NOT_MEASURED


def test_a_bias_counts_for_lemma1_but_not_for_depth() -> None:
    change = np.expm1(np.log1p(ETAS))[None, :, None] * np.array([0.9, 100.0])
    measurements = measured(ETAS, is_weight=[True, False], gradient_change=change)
    found = verdict("deep-relative-trust", measurements)
    assert (found.status, found.log10_constant) == (Status.WITHIN_FACTOR, pytest.approx(np.log10(0.9)))
    assert verdict("lemma2-calibrated", measurements).log10_constant == pytest.approx(2)


def test_a_dead_network_proves_nothing() -> None:
    zero = (
        "relative_perturbation",
        "perturbation_norm",
        "gradient_change",
        "gradient_difference",
        "gradient_norm",
    )
    zero += ("output_change", "jacobian_change", "slope", "slope_at_zero", "step_limit", "curvature")
    zero += ("predicted_limit",)
    zero += ("noise_floor", "loss_noise_floor", "output_noise_floor")
    unknown = ("gradient_cosine", "perturbation_cosine")
    dead = measured(ETAS, loss=2.3, **dict.fromkeys(zero, 0.0), **dict.fromkeys(unknown, np.nan))
    for found in judge(dead):
        if found.claim.startswith("spectral-condition"):
            continue  # of weights and steps as they stand, whatever the gradients
        assert found.status in (Status.NOT_MEASURED, Status.PREMISE_FAILS), found
    limits = {v.claim: v for v in judge(dead)}
    assert limits["lemma2-limit"].premises["descent direction"] is False


def test_lemma1_holds_exactly_and_speaks_only_of_what_the_grid_resolves() -> None:
    fine = (0.0, *np.geomspace(1e-4, 0.05, 12))
    exact = measured(fine)
    assert status("lemma1", exact) is Status.HOLDS
    assert status("lemma1", exact.assign(loss=exact.loss + 100 * exact.eta**2)) is Status.REFUTED
    leap = measured((0.0, 0.001, 1.0))
    found = verdict("lemma1", leap.assign(loss=leap.loss + 1e6 * (leap.eta == 1)))
    assert found.status is not Status.REFUTED
    restricted = exact.copy()
    restricted["gradient_difference"] = exact["gradient_difference"].where(
        exact["layer"] == "layers.0.weight"
    )
    found = verdict("lemma1", restricted.assign(slope=np.nan * exact.slope))
    assert (found.status, "`layers='all'`" in found.remark) == (Status.NOT_MEASURED, True)


def test_lemma1_of_a_concave_slice_holds() -> None:
    fine = (0.0, *np.geomspace(1e-4, 0.05, 12))
    exact = measured(fine)
    slope = float(exact.slope_at_zero[0])
    concave = exact.assign(loss=exact.loss[0, 0] + slope * exact.eta - exact.eta**2 + 0 * exact.loss)
    concave["slope"] = slope - 2 * exact.eta + 0 * exact.slope
    assert status("lemma1", concave) is Status.HOLDS


def test_euclidean_trust_is_judged_where_it_was_not_fitted() -> None:
    etas = np.array([0.0, 0.01, 0.02, 0.03, 0.04])
    base = measured(etas)
    moved = np.sqrt((base.perturbation_norm.values[0] ** 2).sum(-1))
    within, off = Status.WITHIN_FACTOR, Status.OFF_BY_FACTOR
    for power, expected in ((1, within), (1.5, within), (4, off), (0.5, within)):
        change = 3.0 * moved**power / np.sqrt(2)
        found = verdict("euclidean-trust", measured(etas, gradient_difference=change[None, :, None]))
        assert found.status is expected
        ratio = 3.0 * moved[1:3] ** (power - 1)
        assert found.log10_constant == pytest.approx(np.log10(ratio.max()))
        assert found.holds_fraction == (0.0 if power > 1 else 1.0)
        assert found.worst_log10_ratio == pytest.approx(
            np.log10(2 if power > 1 else 3) * (power - 1)  # from η = 0.02 to 0.04, or from 0.01 to 0.03
        )
    assert status("euclidean-trust", measured((0.0, 0.1))) is Status.NOT_MEASURED
    change = base.gradient_difference.values.copy()
    change[..., 0] = np.nan
    assert status("euclidean-trust", measured(etas, gradient_difference=change)) is Status.NOT_MEASURED


def test_deep_relative_trust_with_one_constant_is_judged_like_its_rival() -> None:
    etas = np.array([0.0, 0.01, 0.02, 0.03, 0.04])
    base = measured(etas)
    before = np.sqrt((base.gradient_norm.values[0, 0] ** 2).sum())
    D = np.expm1(2 * np.log1p(etas))
    for power, expected in ((1, Status.WITHIN_FACTOR), (4, Status.OFF_BY_FACTOR)):
        change = 5.0 * D**power * before / np.sqrt(2)
        found = verdict(
            "deep-relative-trust-fitted", measured(etas, gradient_difference=change[None, :, None])
        )
        assert found.status is expected
        assert found.log10_constant == pytest.approx(np.log10(5.0 * D[2] ** (power - 1)))
        assert found.worst_log10_ratio == pytest.approx(
            np.log10(D[3 if power == 1 else 4] / D[2]) * (power - 1)
        )
    assert status("deep-relative-trust-fitted", measured((0.0, 0.1))) is Status.NOT_MEASURED


def test_where_a_model_stops() -> None:
    D = np.expm1(2 * np.log1p(ETAS))
    growing = np.array([1.0, 1.0, 1.5, 40.0]) * D
    found = verdict("deep-relative-trust", measured(ETAS, gradient_change=growing[None, :, None]))
    assert (found.status, found.good_to) == (Status.WITHIN_FACTOR, 0.01)
    assert found.words == "within a factor of 2 up to η = 0.01, then off by 40"


def test_a_gradient_slice_of_a_deep_network_is_not_as_deep_relative_trust_says() -> None:
    measurements, _ = real((6, *[8] * 15, 4), direction="gradient", biases=True)
    found = {v.claim: v for v in judge(measurements)}
    trusted = found["deep-relative-trust"]
    assert trusted.status is Status.OFF_BY_FACTOR
    relative = 10.0**trusted.log10_constant
    first = measurements.isel(eta=1, checkpoint=0)
    own = first.isel(layer=np.flatnonzero(first.is_weight.values))
    constant = float((own.gradient_change / (np.prod(1 + own.relative_perturbation.values) - 1)).max())
    assert relative == pytest.approx(constant, rel=1e-9)
    assert constant > 2
    assert found["lemma1"].status is Status.HOLDS
    assert found["theorem1-function"].status is Status.PREMISE_FAILS
    json.dumps([v.to_json() for v in found.values()], allow_nan=False)

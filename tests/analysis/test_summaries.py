"""Growth, constants, limits and envelopes against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from analysis import compare_growth, envelope, step_limits, summarise
from analysis.documents import limit_rows
from analysis.step_limits import how_far_searched
from analysis.tables import limits_table
from tests.analysis.synthetic import measured
from trust.claims import all_claims

ETAS = np.array([0.0, 0.01, 0.02, 0.05, 0.1, 0.3])


def follows(model: str, constant: float) -> xr.Dataset:
    """A slice whose every gradient change is exactly C·D(r), or exactly K·‖ΔW‖."""
    base = measured(ETAS)
    trust = np.expm1(2 * np.log1p(ETAS))
    moved = np.sqrt((base.perturbation_norm.values[0] ** 2).sum(-1))
    change = constant * (trust if model == "deep-relative-trust" else moved)
    norms = base.gradient_norm.values[:, :1]
    return measured(
        ETAS, gradient_change=change[None, :, None], gradient_difference=change[None, :, None] * norms
    )


@pytest.mark.parametrize("model", ["deep-relative-trust", "euclidean-trust"])
def test_the_right_model_of_growth_has_no_error(model: str) -> None:
    found = compare_growth(follows(model, 7.0))
    assert [growth.layer for growth in found] == ["all parameters", "layers.0.weight", "layers.1.weight"]
    for growth in found:
        errors = {"deep-relative-trust": growth.deep_relative_trust, "euclidean-trust": growth.euclidean}
        assert growth.better == model
        assert errors.pop(model) < 1e-12
        assert errors.popitem()[1] > 0.02
        assert (growth.fitted_to, growth.judged_to, growth.points) == (0.02, 0.3, 3)


def test_growth_of_one_eta_or_of_noise_is_undecided() -> None:
    for measurements in (measured((0.0, 0.1)), measured(ETAS, noise_floor=1e9)):
        for growth in compare_growth(measurements):
            assert (growth.points, growth.better) == (0, "undecided")


def test_growth_of_a_restricted_run_speaks_of_no_whole() -> None:
    change = measured(ETAS).gradient_change.values.copy()
    change[..., 1] = np.nan
    found = compare_growth(measured(ETAS, gradient_change=change, gradient_difference=change))
    assert [growth.points for growth in found] == [0, 3, 0]


def test_constants_are_read_off_the_first_eta_above_the_noise() -> None:
    trust = np.expm1(2 * np.log1p(ETAS))
    truth = 5.0 - 2.0 * trust  # a line in D, so its extrapolation is exact
    change = (truth * trust)[None, :, None]
    found = summarise(measured(ETAS, gradient_change=change))
    np.testing.assert_allclose(found.constant, truth[1], rtol=1e-12)
    np.testing.assert_allclose(found.constant_limit, 5.0, rtol=1e-10)
    noisy = summarise(measured(ETAS, gradient_change=change, noise_floor=change[0, 2, 0] / 10.1))
    np.testing.assert_allclose(noisy.constant, truth[2], rtol=1e-12)
    np.testing.assert_array_equal(noisy.constant_eta, 0.02)


def test_constants_of_a_dead_or_leaping_network_are_not_known() -> None:
    for relative in (0.0, np.inf):
        found = summarise(measured(ETAS, relative_perturbation=relative))
        assert bool(found.constant.isnull().all())
        assert bool(found.constant_limit.isnull().all())


def test_step_limits_have_their_formulas() -> None:
    constant = 4.0
    trust = np.expm1(2 * np.log1p(ETAS))
    base = measured(ETAS)
    found = step_limits(
        measured(ETAS, gradient_change=(constant * trust)[None, :, None], perturbation_cosine=[0.5, 1.0])
    )
    slope, curvature = float(base.slope_at_zero[0]), float(base.curvature[0])
    expected = {
        "lemma2": 1.5**0.5 - 1,
        "calibrated": (1 + 0.5 / constant) ** 0.5 - 1,
        "curvature": -2 * slope / curvature,
        "curvature_hessian": -2 * slope / curvature,
        "measured": -2 * slope / curvature,
        "searched_to": 1.0,
        "cos_theta": 0.5,
        "constant": constant,
        "evaluations": 5.0,
        "predicted": -1.9 * slope / curvature,
        "predicted_gradients": 2.0,
        "predicted_losses": 1.0,
    }
    assert set(found.data_vars) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], [value], rtol=1e-9, err_msg=name)


def test_step_limits_that_were_not_measured_are_nan() -> None:
    left_out = (
        "step_limit",
        "step_limit_searched_to",
        "step_limit_evaluations",
        "curvature",
        "predicted_limit",
    )
    found = step_limits(measured(ETAS, drop=left_out, slope=np.nan))
    for name in ("measured", "searched_to", "evaluations", "curvature_hessian", "curvature", "predicted"):
        assert bool(found[name].isnull().all()), name
    assert bool(found["lemma2"].notnull().all())


def test_step_limits_of_a_rising_and_of_a_concave_loss() -> None:
    base = measured(ETAS)
    slope = float(base.slope_at_zero[0])
    assert (
        float(step_limits(measured(ETAS, slope_at_zero=-slope, slope=-slope + 1e3 * ETAS))["curvature"][0])
        == 0.0
    )
    # a curvature that is not positive says nothing
    assert np.isnan(float(step_limits(measured(ETAS, slope=slope - 1e3 * ETAS))["curvature"][0]))


def test_how_far_was_searched_is_said() -> None:
    common = {"step_limit": 0.2, "step_limit_searched_from": 1e-4, "step_limit_resolution": 1.62}
    (clear,) = how_far_searched(measured(ETAS, step_limit_clear_to=0.2, **common))
    assert clear == "seen from η = 0.0001 to 0.2, at least every ×1.62"
    (doubtful,) = how_far_searched(measured(ETAS, step_limit_clear_to=0.05, **common))
    assert doubtful == f"{clear}; beyond 0.05 an earlier return remains possible"
    far = common | {"step_limit": np.nan, "step_limit_searched_to": 8.0}
    (never,) = how_far_searched(measured(ETAS, step_limit_clear_to=8.0, **far))
    assert never == "seen from η = 0.0001 to 8, at least every ×1.62"
    assert how_far_searched(measured(ETAS, drop=("step_limit_resolution",))) == [""]  # results of before


def test_limits_as_a_table_and_as_json() -> None:
    measurements = measured(ETAS, predicted_limit=0.25)
    limits = step_limits(measurements)
    heading, row = limits_table(limits)
    assert row[heading.index("predicted")] == "0.25"
    (found,) = limit_rows(measurements, limits)
    assert (found["predicted"], found["predicted_gradients"], found["predicted_losses"]) == (0.25, 2, 1)
    before = measurements.drop_vars(
        ["predicted_limit", "predicted_limit_gradients", "predicted_limit_losses"]
    )
    (without,) = limit_rows(before, step_limits(before))
    assert (without["predicted"], without["predicted_gradients"], without["predicted_losses"]) == (None,) * 3


def test_envelope_takes_the_worst_example() -> None:
    change = np.outer(ETAS, [1.0, 3.0, 10.0])[None]
    measurements = measured(ETAS, examples=3, output_change=change)
    found = envelope(measurements, all_claims()["theorem1-function"])
    assert found is not None
    np.testing.assert_allclose(found.log10_measured[0], np.log10(10 * ETAS[1:]))
    np.testing.assert_allclose(found.log10_measured_median[0], np.log10(3 * ETAS[1:]))
    assert found.attrs["claim"] == "theorem1-function"


def test_envelope_of_a_sample_is_not_infinite_beyond_it() -> None:
    gates = np.zeros((1, ETAS.size, 2, 3))
    gates[..., 2] = np.nan
    change = np.where(np.isnan(gates), np.nan, (ETAS / 2)[None, :, None, None])
    found = envelope(
        measured(ETAS, examples=3, gate_change=gates, jacobian_change=change),
        all_claims()["theorem1-jacobian-gated"],
    )
    assert found is not None
    assert bool(np.isfinite(found.log10_bound).all())


def test_envelope_is_none_without_a_measurement_or_without_eta() -> None:
    claims = all_claims()
    assert envelope(measured(ETAS, drop=("jacobian_change",)), claims["theorem1-jacobian"]) is None
    assert envelope(measured(ETAS), claims["lemma2"]) is None

"""Growth, constants, limits and envelopes against closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from analysis import compare_growth, envelope, step_limits, summarise
from analysis.documents import limit_rows
from analysis.envelopes import distinct
from analysis.step_limits import how_far_searched
from analysis.tables import constants_table, limits_table
from analysis.wording import constant_lines, number
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


def summary_of(constants: dict[float, float], **replaced: Any) -> xr.Dataset:
    """The summary of a slice on a grid of one's own, with C at each η as given."""
    grid = np.array([0.0, *constants])
    change = np.array([0.0, *constants.values()]) * np.expm1(2 * np.log1p(grid))
    return summarise(measured(grid, gradient_change=change[None, :, None], **replaced))


@pytest.mark.parametrize(
    ("constants", "read_off"),
    [
        ({1e-4: 5.0, 1e-2: 3.0}, 1e-4),
        ({1e-6: 9.0, 1e-5: 7.0, 1e-4: 5.0, 1e-2: 3.0}, 1e-4),  # a finer grid has the same constant
        ({1e-4 * (1 + 1e-15): 5.0, 1e-3: 4.0}, 1e-4),  # as some grids round it
        ({1e-6: 9.0, 1e-3: 4.0, 1e-2: 3.0}, 1e-3),
        ({1e-6: 9.0, 1e-5: 7.0}, 1e-6),
        ({0.1: 2.0}, 0.1),
    ],
)
def test_constants_are_read_off_by_one_rule_on_every_grid(
    constants: dict[float, float], read_off: float
) -> None:
    found = summary_of(constants)
    expected = min(constants.items(), key=lambda pair: abs(pair[0] - read_off))[1]
    np.testing.assert_allclose(found.constant, expected, rtol=1e-9)
    np.testing.assert_allclose(found.constant_eta, read_off, rtol=1e-12)
    trust = np.expm1(2 * np.log1p(read_off))
    np.testing.assert_allclose(found.constant_breakdown, expected * trust, rtol=1e-9)


def test_a_constant_below_the_noise_is_read_off_above_it() -> None:
    constants = {1e-6: 9.0, 1e-4: 5.0, 1e-3: 4.0, 1e-2: 3.0}
    change = 4.0 * np.expm1(2 * np.log1p(1e-3))
    found = summary_of(constants, noise_floor=change / 10.1)
    np.testing.assert_array_equal(found.constant_eta, 1e-3)
    np.testing.assert_allclose(found.constant, 4.0, rtol=1e-9)


def test_report_and_limit_show_one_number_and_say_where_it_is_no_limit() -> None:
    grid = np.array([0.0, 1e-4, 1e-2])
    change = np.array([[[0.0, 0.0], [0.02, 0.6], [0.3, 0.9]]])
    run = measured(grid, gradient_change=change)
    table = constants_table(summarise(run))
    limits = limits_table(step_limits(run))
    places = [rows[0].index("C at η₀") for rows in (table, limits)]
    assert table[1][places[0]] == limits[1][places[1]] == number(0.6 / np.expm1(2 * np.log1p(1e-4)))
    assert table[1][2:4] == ["layers.1.weight", "0.0001"]
    (line,) = constant_lines(summarise(run))
    assert "no limit at c0: at η = 0.0001" in line
    assert "layers.1.weight has already changed by 0.6" in line
    assert constant_lines(summarise(measured(grid, gradient_change=0.49 * (grid > 0)[None, :, None]))) == []


def test_a_tensor_that_stands_still_has_no_say_in_the_constant() -> None:
    moved = np.array([0.0, 1e-4, 1e-2])[None, :, None] * np.array([1.0, 0.0])
    change = np.array([[[0.0, 0.0], [0.02, 0.6], [0.3, 0.9]]])
    run = measured((0.0, 1e-4, 1e-2), gradient_change=change, perturbation_norm=moved)
    (row,) = constants_table(summarise(run))[1:]
    assert row[1:3] == [number(0.02 / np.expm1(2 * np.log1p(1e-4))), "layers.0.weight"]
    assert row[1] == number(float(step_limits(run)["constant"][0]))
    assert constant_lines(summarise(run)) == []


def test_constants_of_a_dead_or_leaping_network_are_not_known() -> None:
    for relative in (0.0, np.inf):
        found = summarise(measured(ETAS, relative_perturbation=relative))
        assert bool(found.constant.isnull().all())
        assert constants_table(found)[1][1:3] == ["–", "–"]
        assert constant_lines(found) == []


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
        "certified": np.nan,
        "certified_examples": 0.0,
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
    for name in ("measured", "searched_to", "evaluations", "curvature", "predicted"):
        assert bool(found[name].isnull().all()), name
    assert bool(found["lemma2"].notnull().all())


def test_step_limits_of_a_rising_and_of_a_concave_loss() -> None:
    base = measured(ETAS)
    slope = float(base.slope_at_zero[0])
    rising = measured(ETAS, slope_at_zero=-slope, slope=-slope + 1e3 * ETAS)
    assert float(step_limits(rising)["curvature"][0]) == 0.0
    # a curvature that is not positive says nothing, whichever it is
    concave = measured(ETAS, curvature=-1.0)
    assert np.isnan(float(step_limits(concave)["curvature"][0]))
    concave = measured(ETAS, curvature=np.nan, slope=slope - 1e3 * ETAS)
    assert np.isnan(float(step_limits(concave)["curvature"][0]))


def test_the_curvature_is_the_exact_one_where_it_was_measured() -> None:
    """Though the slopes, which see kinks on the way, tell another."""
    base = measured(ETAS)
    slope, curvature = float(base.slope_at_zero[0]), float(base.curvature[0])
    bent = slope + (base.slope.values - slope) * 1.5
    found = step_limits(measured(ETAS, slope=bent))["curvature"]
    np.testing.assert_allclose(found, -2 * slope / curvature)
    for unmeasured in (
        measured(ETAS, slope=bent, curvature=np.nan),
        measured(ETAS, slope=bent, drop=["curvature"]),
    ):
        np.testing.assert_allclose(step_limits(unmeasured)["curvature"], -2 * slope / curvature / 1.5)


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
    assert "certified" not in heading  # of networks of which nothing can be
    heading, row = limits_table(limits.assign(certified=0 * limits["measured"].fillna(0.0) + 0.01))
    assert row[heading.index("certified")] == "0.01"
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


def test_a_bound_that_is_another_one_again_is_not_drawn_twice() -> None:
    def made(bound: list[float], holds: float = 1.0) -> xr.Dataset:
        names = ("log10_measured", "log10_measured_median")
        sides = {name: ("eta", [-2.0, -1.0]) for name in names}
        return xr.Dataset(sides | {"log10_bound": ("eta", bound), "premises_hold": ("eta", [holds] * 2)})

    found = {
        "first": made([0.0, 1.0]),
        "twin": made([0.0, 1.0 + 1e-12]),
        "above": made([0.0, 1.0 + 1e-6]),
        "unpremised": made([0.0, 1.0], holds=np.nan),
        "infinite": made([np.inf, np.inf]),
        "infinite too": made([np.inf, np.inf]),
        "shorter": made([0.0, 1.0]).isel(eta=[0]),
    }
    assert list(distinct(found)) == [name for name in found if name != "twin"]

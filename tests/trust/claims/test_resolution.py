"""What noise may have made is no evidence."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from analysis import Status, summarise
from tests.analysis.synthetic import measured
from tests.trust.claims.examples import CLAIMS, status
from tests.trust.claims.slices import PATHS, case_of, with_values
from trust.claims.quantities import above_noise, change_floor, effective_constant, rounding_share


def test_nothing_below_ten_noise_floors_is_evidence() -> None:
    found = case_of(activation="relu", seed=5).found
    size = found["output_norm"]
    variables: dict[str, tuple[str, Any]] = {
        "spectral-product": ("output_change", 1.0),
        "neyshabur": ("output_change", 1.0),
        "telescoped": ("output_change", 1.0),
        "input-sensitivity": ("input_response", size),
        "path-metric": ("output_difference_l1", size),
        "path-metric-direct": ("output_difference_l1", size),
    }
    for claim, (variable, unit) in variables.items():
        for times, known in ((9.99, False), (10.01, True)):
            noisy = with_values(found, output_noise_floor=1e-3, **{variable: times * 1e-3 * unit})
            left = CLAIMS[claim].measured(noisy)
            assert bool(left.notnull().all()) is known, (claim, times)
            assert bool(left.notnull().any()) is known
            allowance = CLAIMS[claim].log10_allowance
            assert allowance is not None
            expected = np.log10(1 + 1e-3 * (1 + 2 / (times * 1e-3)))
            if claim in PATHS:
                floor = 3**0.5 * 1e-3  # ‖·‖₁ ≤ √3 ‖·‖₂ for three outputs
                expected = np.log10(1 + floor * (1 + 2 / (times * 1e-3)))
            np.testing.assert_allclose(allowance(noisy), expected, rtol=1e-12)
            if not known:
                assert status(claim, noisy) is Status.NOT_MEASURED
    for value in (np.inf, np.nan, 0.0):
        blown = with_values(found, output_change=value, input_response=value, output_difference_l1=value)
        for claim in variables:
            assert status(claim, blown) is Status.NOT_MEASURED


def test_what_noise_may_have_raised_refutes_nothing() -> None:
    found = case_of(activation="relu", seed=5).found
    bound = 10.0 ** CLAIMS["telescoped"].bound(found)
    full = bound.reindex(eta=found["eta"]).fillna(1.0).transpose(*found["output_change"].dims)
    floor = float(bound.min()) / 20
    # at the smallest bound noise may have added 2/20 and the floor itself, at all others less
    for factor, expected in ((1 + floor, Status.HOLDS), (1.5, Status.REFUTED)):
        near = with_values(found, output_change=factor * full, output_noise_floor=floor)
        assert status("telescoped", near) is expected
    exact = with_values(found, output_change=1.02 * full, output_noise_floor=0.0)
    assert status("telescoped", exact) is Status.REFUTED


def test_rounding_of_the_remainder_is_no_evidence() -> None:
    found = case_of(activation="identity").found
    own = found.isel(layer=np.flatnonzero(found["is_weight"].values))
    sizes = own["perturbed_operator_norm"].clip(min=own["operator_norm"]).prod("layer")
    rounding = 3 * 5 * 2.0**-52 * sizes * found["input_norm"]
    rounding = rounding.transpose(*found["linearisation_error"].dims)
    for times, known in ((9.99, False), (10.01, True)):
        left = CLAIMS["linearisation-remainder"].measured(
            with_values(found, linearisation_error=times * rounding)
        )
        assert bool(left.notnull().any()) is known
        assert bool(left.notnull().all()) is known


GRID = (0.0, 1e-4, 1e-3, 1e-2, 0.1, 1.0)


def spot_checked(shares: dict[int, float]) -> xr.Dataset:
    """Breakdowns of 3D(r), and at some rows of the grid an error of such a share in the worse of two layers."""
    change = 3 * np.expm1(2 * np.log1p(np.array(GRID)))
    found = measured(GRID, gradient_change=change[None, :, None], noise_floor=1e-9)
    error = np.full((1, len(GRID), 2), np.nan)
    for row, share in shares.items():
        error[0, row] = change[row] * np.array([share, share / 100])
    return found.assign(gradient_change_error=(found.gradient_change.dims, error))


def test_rounding_between_the_checked_etas_is_a_straight_line() -> None:
    share = rounding_share(spot_checked({3: 0.02, 4: 0.2}))[0]
    np.testing.assert_allclose(share, [0.0, 0.0002, 0.002, 0.02, 0.2, 0.2])
    assert not rounding_share(measured(GRID)).any()  # results from before there was a check


def test_beyond_a_tenth_of_rounding_nothing_is_evidence() -> None:
    """A breakdown of 2.18 in float32 may be one of 2.22, however small the floor of η = 0."""
    found = spot_checked({3: 0.02, 4: 0.09, 5: 0.11})
    assert above_noise(found)[0, :, 0].values.tolist() == [False, True, True, True, True, False]
    assert not bool(above_noise(found)[0, 5, 1])  # that the other layer was spared is chance
    assert summarise(found)["above_noise"][0, :, 0].values.tolist() == [False, *4 * [True], False]
    assert bool(np.isnan(effective_constant(found)[0, 5]).all())
    floor = change_floor(found).sel(layer="layers.1.weight")[0] / found.gradient_change.isel(layer=1)[0]
    np.testing.assert_allclose(floor[3:], [0.02, 0.09, 0.11])


def test_rounding_refutes_nothing() -> None:
    """A breakdown that exceeds the model by less than rounding there exceeds it by nothing."""
    D = np.expm1(2 * np.log1p(np.array(GRID)))
    above = measured(GRID, gradient_change=2.05 * D[None, :, None], noise_floor=1e-9)
    assert status("deep-relative-trust", above) is Status.OFF_BY_FACTOR
    error = np.full((1, len(GRID), 2), np.nan)
    error[0, 1:] = 0.09 * 2.05 * D[1:, None]
    checked = above.assign(gradient_change_error=(above.gradient_change.dims, error))
    assert status("deep-relative-trust", checked) is Status.WITHIN_FACTOR

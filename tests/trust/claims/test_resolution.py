"""What noise may have made is no evidence."""

from __future__ import annotations

from typing import Any

import numpy as np

from analysis import Status
from tests.trust.claims.examples import CLAIMS, status
from tests.trust.claims.slices import PATHS, case_of, with_values


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

"""Slopes and curvature against differences of the losses."""

from __future__ import annotations

import numpy as np
import pytest

from tests.probes.slices.examples import measured
from tests.support.reference import make, make_data


def test_slope_and_curvature_are_the_derivatives_of_the_loss() -> None:
    network, (x, y) = make(activation="tanh"), make_data()
    h = 1e-3
    found = measured(network, x, y, etas=np.array([0.0, h, 2 * h]), curvature=0)
    loss, slope = found["loss"].values, found["slope"].values
    # central and one-sided three-point differences err by h² times a third derivative of order 10
    assert slope[1] == pytest.approx((loss[2] - loss[0]) / (2 * h), rel=100 * h**2)
    assert slope[0] < 0
    second = (-3 * slope[0] + 4 * slope[1] - slope[2]) / (2 * h)
    assert float(found["curvature"]) == pytest.approx(second, rel=1e-3)


def test_slope_of_a_direction_that_is_not_the_gradient() -> None:
    network, (x, y) = make(activation="tanh"), make_data()
    h = 1e-4
    found = measured(network, x, y, etas=np.array([0.0, h, 2 * h]), direction="noise")
    loss = found["loss"].values
    assert float(found["slope"][1]) == pytest.approx((loss[2] - loss[0]) / (2 * h), rel=1e-4, abs=1e-7)

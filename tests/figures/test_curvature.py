"""Sharpness through training: what is known is drawn, beside its edge."""

from __future__ import annotations

import numpy as np
import xarray as xr

from figures import draw_curvature, numbers_of_curvature


def test_what_is_known_is_drawn_and_nothing_else() -> None:
    nothing = [np.nan, np.nan]
    forms = dict.fromkeys(("gauss_newton", "block", "batch_sharpness", "critical_sharpness"), nothing)
    data = xr.Dataset(
        {
            name: ("checkpoint", values)
            for name, values in {**forms, "hessian": [5.0, 19.0], "edge": [20.0, 20.0]}.items()
        },
        {"checkpoint": ["a", "b"], "step": ("checkpoint", [0, 100])},
    )
    figure = draw_curvature(data)
    figure.draw_without_rendering()
    (ax,) = figure.axes
    assert [line.get_label() for line in ax.lines] == ["λ of the Hessian", "edge of stability, 2/η"]
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [0, 100])
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), [20, 20])
    assert len(numbers_of_curvature(data)) == 4

"""Panels of lines where there is little to draw."""

from __future__ import annotations

import math

import pytest

from figures.panels import Panel, Series, draw_panels


@pytest.mark.parametrize(
    ("y", "scale"), [([math.nan, math.nan], "linear"), ([0.0, 2.0], "log"), ([], "linear")]
)
def test_an_axis_is_logarithmic_where_there_is_a_number_for_it(y: list[float], scale: str) -> None:
    x = [1.0, 2.0][: len(y)]
    figure = draw_panels([Panel("nothing", "x", "y", [Series("a", x, y)], log_x=True, log_y=True)])
    figure.canvas.draw()
    (ax,) = figure.axes
    assert ax.get_yscale() == scale
    assert ax.get_xscale() == ("log" if x else "linear")

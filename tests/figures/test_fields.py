"""Maps of the plane and sheets of images: what stands where."""

from __future__ import annotations

import numpy as np
import pytest

from figures import Field, Panel, Series, Sheet, draw_fields, plot_field, plot_sheet


def test_the_boundary_is_where_the_function_is_zero() -> None:
    x, y = np.meshgrid(np.linspace(-1, 1, 21), np.linspace(-1, 1, 21))
    points, sides = np.array([[-0.5, 0.2], [0.7, -0.1], [0.9, 0.9]]), np.array([-1, 1, 1])
    ax = plot_field(Field(x - 0.3 + 0 * y, points, sides))
    boundary, *scattered = ax.collections
    vertices = boundary.get_paths()[0].vertices
    np.testing.assert_allclose(vertices[:, 0], 0.3, atol=1e-12)
    assert vertices[:, 1].min() == pytest.approx(-1)
    assert vertices[:, 1].max() == pytest.approx(1)
    assert [one.get_offsets().tolist() for one in scattered] == [points[:1].tolist(), points[1:].tolist()]
    assert ax.images[0].origin == "lower"


def test_a_function_of_one_sign_has_no_boundary() -> None:
    ax = plot_field(Field(np.ones((3, 3)), np.zeros((2, 2)), np.array([-1, 1])))
    assert len(ax.collections) == 2


def test_images_stand_by_rows() -> None:
    images = np.arange(2 * 3 * 4 * 5, dtype=float).reshape(2, 3, 4, 5)
    before = images.copy()
    ax = plot_sheet(Sheet(images, ["clean", "noisy"], "images"))
    drawn = np.asarray(ax.images[0].get_array())
    assert drawn.shape == (8, 15)
    np.testing.assert_array_equal(drawn[4:8, 5:10], images[1, 1])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["clean", "noisy"]
    assert ax.get_yticks().tolist() == [1.5, 5.5]
    np.testing.assert_array_equal(images, before)


def test_all_together() -> None:
    field = Field(np.eye(3) - 0.5, np.zeros((2, 2)), np.array([-1, 1]))
    panels = [Panel("a", "x", "y", [Series("line", [1, 2], [3, 4])]), None, None, None, None]
    figure = draw_fields(
        [[field] * 4] * 2,
        rows=["one", "two"],
        columns=["0%", "50%"] * 2,
        sheet=Sheet(np.ones((2, 3, 4, 4)), ["0%", "50%"], "images"),
        panels=panels,
    )
    titles = [ax.get_title() for ax in figure.axes]
    assert titles.count("0%") == titles.count("50%") == 2
    assert "images" in titles
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["line"]
    assert len([ax for ax in figure.axes if ax.images]) == 2 * 4 + 1

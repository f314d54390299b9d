"""Step limits and effective constants, with those that are missing, zero or infinite."""

import numpy as np

from figures import (
    draw_constants,
    numbers_of_constants,
    numbers_of_constants_across_layers,
    numbers_of_constants_through_training,
    numbers_of_step_limits,
    plot_constants_across_layers,
    plot_constants_through_training,
    plot_step_limits,
)
from figures.style import checkpoint_colors, layer_colors
from tests.figures.examples import axes, drawn, legend_texts, marks, network

NAMES = ("lemma2", "calibrated", "curvature", "predicted", "certified", "measured")


def test_the_limits_are_drawn_as_given():
    limits, ax = network().limits, axes()
    assert plot_step_limits(limits, ax=ax) is ax
    for line, name in zip(ax.lines, NAMES, strict=True):
        np.testing.assert_array_equal(drawn(line), [limits.step, limits[name]])
    assert len({line.get_color() for line in ax.lines}) == len(NAMES)
    assert len({line.get_marker() for line in ax.lines}) == len(NAMES)
    assert (ax.get_yscale(), ax.get_xlabel()) == ("log", "training step")
    assert "measured" in legend_texts(ax)
    limits.certified[:] = np.nan
    ax = plot_step_limits(limits, ax=axes())
    assert len(ax.lines) == len(legend_texts(ax)) == 5


def test_a_limit_that_was_not_reached_is_an_arrow_where_the_search_ended():
    limits, ax = network().limits, axes()
    limits.measured[1] = np.nan
    plot_step_limits(limits, ax=ax)
    (arrows,) = ax.containers
    assert arrows.lines[0].get_xydata().tolist() == [[12.0, 7.0]]
    (cap,) = arrows.lines[1]
    assert cap.get_ydata()[0] > 7.0
    assert any("above" in text for text in legend_texts(ax))
    numbers = numbers_of_step_limits(limits)
    arrow = numbers[numbers.drawn_as == "lower limits"]
    assert arrow[["series", "checkpoint", "x", "y"]].values.tolist() == [
        ["searched_to", "epoch-01", 12.0, 7.0]
    ]


def test_zero_and_infinite_limits_are_marked_at_the_edges():
    limits, ax = network().limits, axes()
    limits.measured[0] = 0.0
    limits.curvature[1:] = np.inf
    limits.calibrated[2] = np.nan
    plot_step_limits(limits, ax=ax)
    assert [mark.get_xdata()[0] for mark in marks(ax, "bottom")] == [0]
    assert [mark.get_xdata()[0] for mark in marks(ax, "top")] == [12, 24]
    assert {"limit is 0: loss rises at once", "no limit (infinite)"} <= set(legend_texts(ax))
    words = numbers_of_step_limits(limits).set_index(["series", "x"]).drawn_as
    assert words["measured", 0.0] == "zero"
    assert (words["curvature", 12.0], words["curvature", 24.0]) == ("overflow", "overflow")
    assert words["calibrated", 24.0] == "not drawn"


def test_constants_of_weight_matrices_through_training():
    summary, ax = network().summary, axes()
    assert plot_constants_through_training(summary, ax=ax) is ax
    *curves, one = ax.lines
    weights = summary.constant.values[:, [0, 2, 4]]
    for k, (line, color) in enumerate(zip(curves, layer_colors(3), strict=True)):
        np.testing.assert_array_equal(drawn(line), [summary.step, weights[:, k]])
        assert line.get_color() == color
    assert list(one.get_ydata()) == [1.0, 1.0]
    assert [text.get_text() for text in ax.child_axes[0].get_yticklabels()] == ["1", "2", "3"]
    numbers = numbers_of_constants_through_training(summary)
    np.testing.assert_array_equal(numbers.y, weights.T.ravel())


def test_constants_across_layers():
    summary, ax = network().summary, axes()
    summary.constant[1, 2] = np.nan
    assert plot_constants_across_layers(summary, ax=ax) is ax
    *curves, _ = ax.lines
    weights = summary.constant.values[:, [0, 2, 4]]
    for line, values, color in zip(curves, weights, checkpoint_colors(3), strict=True):
        known = np.isfinite(values)
        np.testing.assert_array_equal(drawn(line), [np.array([1.0, 2.0, 3.0])[known], values[known]])
        assert line.get_color() == color
    assert (ax.get_yscale(), ax.get_xlim()[0] < 1, ax.get_xlim()[1] > 3) == ("log", True, True)
    numbers = numbers_of_constants_across_layers(summary)
    assert numbers.layer.tolist()[:3] == ["layers.0.weight", "layers.1.weight", "layers.2.weight"]
    assert numbers_of_constants(summary).panel.unique().tolist() == ["through training", "across layers"]


def test_constants_of_a_single_checkpoint_are_shown_across_layers_alone():
    summary = network(checkpoints=1).summary
    (ax, key) = draw_constants(summary).axes[0], draw_constants(summary).axes[0].child_axes
    assert "layer" in ax.get_xlabel()
    assert len(key) == 1
    assert numbers_of_constants(summary).panel.unique().tolist() == ["across layers"]

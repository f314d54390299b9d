"""Step limits and effective constants, with those that are missing, zero or infinite."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from figures import (
    draw_constants,
    draw_step_limits,
    numbers_of_constants,
    numbers_of_constants_across_layers,
    numbers_of_constants_through_training,
    numbers_of_step_limits,
    plot_constants_across_layers,
    plot_constants_through_training,
    plot_ladder_through_training,
    plot_step_limits,
)
from figures.style import checkpoint_colors, layer_colors
from tests.figures.examples import axes, drawn, legend_texts, marks, network, zeros

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


def test_checkpoints_that_know_no_step_are_called_by_their_names():
    names = ["epoch_0", "epoch_1", "epoch_2", "epoch_4", "epoch_8", "epoch_12"]
    one = network(checkpoints=6, steps=False)
    limits = one.limits.assign_coords(checkpoint=names)
    envelopes = {claim: each.assign_coords(checkpoint=names) for claim, each in one.envelopes.items()}
    wide = Figure(figsize=(7, 3)).subplots()
    for ax in (
        plot_step_limits(limits, ax=wide),
        plot_ladder_through_training({"theorem1-function": envelopes["theorem1-function"]}, ax=axes()),
    ):
        assert [text.get_text() for text in ax.get_xticklabels()] == names
        assert ax.get_xticks().tolist() == [0, 1, 2, 3, 4, 5]
        assert {text.get_rotation() for text in ax.get_xticklabels()} == {0}
    narrow = plot_step_limits(limits)
    assert [text.get_text() for text in narrow.get_xticklabels()] == names
    assert {text.get_rotation() for text in narrow.get_xticklabels()} == {30}
    many = network(checkpoints=60, steps=False).limits
    ticks = plot_step_limits(many).get_xticklabels()
    assert 5 < len(ticks) < 15
    assert [text.get_text() for text in ticks[:2]] == [
        "epoch-00",
        f"epoch-{ticks[1].get_position()[0]:02.0f}",
    ]
    alone = plot_step_limits(limits.isel(checkpoint=[5]))
    assert [text.get_text() for text in alone.get_xticklabels()] == ["epoch_12"]


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
    assert [mark.get_xdata()[0] for mark in zeros(ax)] == [0]
    assert [mark.get_xdata()[0] for mark in marks(ax)] == [12, 24]
    assert {"limit is 0: no step at all", "no limit (infinite)"} <= set(legend_texts(ax))
    words = numbers_of_step_limits(limits).set_index(["series", "x"]).drawn_as
    assert words["measured", 0.0] == "zero"
    assert (words["curvature", 12.0], words["curvature", 24.0]) == ("overflow", "overflow")
    assert words["calibrated", 24.0] == "not drawn"


@pytest.mark.parametrize("together", [False, True])
def test_zeros_lie_in_a_strip_below_everything_else(together):
    networks = [network("a", seed=1), network("b", seed=2)]
    limits = networks[1].limits
    for name in ("lemma2", "calibrated", "measured"):
        limits[name][1:] = 0.0
    networks[0].limits["predicted"][:] = [1e-9, 1.0, 1.0]  # lower than anything in the other panel
    left, ax = draw_step_limits(networks).axes if together else (axes(), plot_step_limits(limits, ax=axes()))
    (strip,) = [patch for patch in ax.patches if patch.get_label() == "limit is 0: no step at all"]
    top = strip.get_height()
    low, high = np.log10(ax.get_ylim())
    begin = low + top * (high - low)
    shown = [drawn(line)[1] for panel in {left, ax} for line in panel.lines if line not in zeros(panel)]
    assert min(np.log10(y[y > 0]).min() for y in shown if y.size) >= begin - 1e-9
    assert min(ax.get_yticks()) >= 10**begin * (1 - 1e-9)
    assert min(ax.yaxis.get_minorticklocs(), default=np.inf) >= 10**begin * (1 - 1e-9)
    heights = {}
    for mark in zeros(ax):
        heights.setdefault((str(mark.get_color()), mark.get_marker()), set()).add(mark.get_ydata()[0])
    assert {marker for _, marker in heights} == {"s", "D", "o"}  # those of their lines
    places = [height for own in heights.values() for height in own]
    assert len(places) == len(set(places)) == 3  # a row a limit
    assert 0 < min(places) < max(places) < top
    assert [text.get_text() for text in (left if together else ax).texts] == ["0"]
    if together:
        assert not zeros(left)
        assert left.get_ylim() == ax.get_ylim()


def test_zeros_alone_are_something_to_show():
    limits = network().limits
    for name in NAMES:
        limits[name][:] = 0.0 if name == "measured" else np.nan
    ax = plot_step_limits(limits, ax=axes())
    assert len(zeros(ax)) == 3
    assert [text.get_text() for text in ax.texts] == ["0"]


def test_without_a_zero_there_is_no_strip():
    ax = plot_step_limits(network().limits, ax=axes())
    assert not ax.patches
    assert not ax.texts


def test_constants_of_zero_lie_in_a_strip_too():
    summary = network().summary
    summary.constant[1, 2] = 0.0
    for ax in draw_constants(summary).axes:
        assert len(zeros(ax)) == 1
        assert ax.get_ylim()[0] < np.nanmin(summary.constant.where(summary.constant > 0))


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

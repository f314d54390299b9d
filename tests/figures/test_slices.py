"""Loss, breakdown and accuracy: the numbers drawn are those given, and what cannot be drawn is marked."""

import numpy as np
import pytest

from figures import plot_breakdown, plot_loss, plot_training_accuracy
from figures.slices import numbers_of_breakdown, numbers_of_loss
from figures.style import checkpoint_colors
from tests.figures.examples import ETAS, axes, drawn, hollow, legend_texts, marks, network

FIRST, LAST = "layers.0.weight", "layers.2.weight"


def test_loss_is_drawn_as_given_without_eta_zero():
    n, ax = network(), axes()
    assert plot_loss(n.measurements, ax=ax) is ax
    assert len(ax.lines) == 3
    for line, values, color in zip(ax.lines, n.measurements.loss.values, checkpoint_colors(3), strict=True):
        x, y = drawn(line)
        np.testing.assert_array_equal(x, ETAS[1:])
        np.testing.assert_array_equal(y, values[1:])
        assert line.get_color() == color
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert "η" in ax.get_xlabel()
    assert "loss" in ax.get_ylabel()


@pytest.mark.parametrize("layer", [None, LAST])
def test_breakdown_and_deep_relative_trust_are_drawn_as_given(layer):
    n, ax = network(), axes()
    assert plot_breakdown(n.measurements, n.summary, layer=layer, lemma2_limit=0.26, ax=ax) is ax
    given = n.measurements.gradient_change.sel(layer=layer or FIRST).values
    *curves, limit = ax.lines
    for line, values in zip(curves[:3], given, strict=True):
        np.testing.assert_array_equal(drawn(line)[1], values[1:])
    for line, values in zip(curves[3:], n.summary.deep_relative_trust.values, strict=True):
        np.testing.assert_array_equal(drawn(line)[1], values[1:])
        assert (line.get_color(), line.get_linestyle()) == ("black", "--")
    assert list(limit.get_xdata()) == [0.26, 0.26]
    assert [text.split(" $")[0] for text in legend_texts(ax)] == ["deep relative trust", "Lemma 2's limit"]
    assert (layer or "input layer") in ax.get_ylabel()


def test_different_lemma2_limits_are_drawn_one_by_one_in_their_checkpoints_colours():
    n, ax = network(), axes()
    plot_loss(n.measurements, lemma2_limit=np.array([0.1, np.nan, 0.3]), ax=ax)
    limits = ax.lines[3:]
    assert [line.get_xdata()[0] for line in limits] == [0.1, 0.3]
    assert [line.get_color() for line in limits] == [checkpoint_colors(3)[0], checkpoint_colors(3)[2]]
    same = plot_loss(n.measurements, lemma2_limit=np.array([0.1, 0.1 + 1e-9, 0.1]), ax=axes()).lines[3:]
    assert {line.get_color() for line in same} == {"0.3"}


def test_an_overflow_is_no_point_but_a_triangle_at_the_first_eta():
    n, ax = network(), axes()
    n.measurements.loss[0, 3:] = np.nan
    n.measurements.loss[1, 4] = np.inf
    plot_loss(n.measurements, ax=ax)
    lines = [line for line in ax.lines if line not in marks(ax)]
    np.testing.assert_array_equal(drawn(lines[0])[0], ETAS[1:3])
    np.testing.assert_array_equal(drawn(lines[1])[0], ETAS[1:4])
    assert [mark.get_xdata()[0] for mark in marks(ax)] == [0.1, 1.0]
    assert [mark.get_color() for mark in marks(ax)] == checkpoint_colors(3)[:2]
    assert legend_texts(ax) == ["overflow"]


def test_marks_at_one_eta_do_not_hide_each_other():
    n, ax = network(), axes()
    n.measurements.loss[:, 4] = np.inf
    plot_loss(n.measurements, ax=ax)
    assert len({mark.get_ydata()[0] for mark in marks(ax)}) == 3
    assert min(mark.get_ydata()[0] for mark in marks(ax)) > 0.85  # shares of the height: still at the edge


def test_a_layer_that_was_not_measured_is_not_taken_for_an_overflow():
    n, ax = network(), axes()
    n.measurements.gradient_change[:] = np.nan
    n.summary["deep_relative_trust"][:] = np.nan
    plot_breakdown(n.measurements, n.summary, ax=ax)
    assert not marks(ax)
    assert [text.get_text() for text in ax.texts] == ["nothing that can be drawn"]


def test_points_below_the_noise_floor_are_hollow_and_not_on_the_line():
    n, ax = network(), axes()
    n.summary.above_noise[1, :3, 0] = False
    plot_breakdown(n.measurements, n.summary, ax=ax)
    (below,) = hollow(ax)
    given = n.measurements.gradient_change.values[1, :, 0]
    np.testing.assert_array_equal(drawn(below)[1], given[1:3])
    np.testing.assert_array_equal(drawn(ax.lines[1])[1], given[3:])
    assert "below noise floor" in legend_texts(ax)


def test_zero_breakdown_is_skipped_on_the_log_axis():
    n, ax = network(), axes()
    n.measurements.gradient_change[0, 1, 0] = 0.0
    plot_breakdown(n.measurements, n.summary, ax=ax)
    np.testing.assert_array_equal(drawn(ax.lines[0])[0], ETAS[2:])
    numbers = numbers_of_breakdown(n.measurements, n.summary)
    zero = numbers[(numbers.series == "breakdown") & (numbers.checkpoint == "epoch-00") & (numbers.x == 1e-3)]
    assert zero.drawn_as.tolist() == ["not drawn"]


@pytest.mark.parametrize(("smallest", "largest"), [(1.0, 10.0), (3e-9, 5e14), (1e-300, 1.0)])
def test_the_papers_range_is_shown_and_no_data_cut(smallest, largest):
    n, ax = network(), axes()
    n.measurements.loss[0, 1], n.measurements.loss[0, 2] = smallest, largest
    plot_loss(n.measurements, ax=ax)
    low, high = ax.get_ylim()
    assert low <= min(1e-2, smallest)
    assert high >= max(1e6, largest)
    if (smallest, largest) == (1.0, 10.0):
        assert (low, high) == (1e-2, 1e6)
    assert not ax.texts


@pytest.mark.parametrize("largest", [1e24, 1e300])
def test_one_curve_far_above_does_not_squeeze_the_others_into_a_band(largest):
    n, ax = network(), axes()
    n.measurements.loss[1, 4] = largest
    plot_loss(n.measurements, ax=ax)
    assert ax.get_ylim() == (1e-2, 1e12)
    (mark,) = marks(ax)
    assert (mark.get_xdata()[0], mark.get_markerfacecolor()) == (ETAS[4], "none")
    assert legend_texts(ax) == ["above $10^{12}$, where the axis is cut"]
    assert [text.get_text() for text in ax.texts] == [f"up to $10^{{{np.log10(largest):.0f}}}$"]
    numbers = numbers_of_loss(n.measurements)
    assert numbers[numbers.y == largest].drawn_as.tolist() == ["above the axis"]


def diamonds(ax):
    return [line for line in ax.lines if line.get_marker() == "D"]


def test_the_measured_limit_is_a_diamond_on_each_curve():
    n, limit = network(), np.array([0.02, np.nan, 5.0])
    n.measurements.loss[0] = [3.0, 2.0, 2.5, 4.0, 9.0]
    ax = plot_loss(n.measurements, measured_limit=limit, ax=axes())
    first, last = diamonds(ax)
    assert drawn(first) == pytest.approx(np.array([[0.02], [3.0]]))  # where the loss is back at its start
    assert drawn(last) == pytest.approx(
        np.array([[5.0], [float(n.measurements.loss[2, 0])]])
    )  # beyond the grid
    assert [line.get_color() for line in (first, last)] == [checkpoint_colors(3)[k] for k in (0, 2)]
    assert any("measured step limit" in text for text in legend_texts(ax))
    n.measurements.gradient_change[0, :, 0] = [0.0, 0.1, 1.0, 100.0, 1000.0]
    ax = plot_breakdown(
        n.measurements, n.summary, measured_limit=np.array([10**-1.5, np.nan, 5.0]), ax=axes()
    )
    (only,) = diamonds(ax)  # halfway from 0.01 to 0.1 the line is halfway from 1 to 100
    assert drawn(only) == pytest.approx(np.array([[10**-1.5], [10.0]]))
    numbers = numbers_of_breakdown(n.measurements, n.summary, measured_limit=limit)
    assert numbers[numbers.series == "measured step limit"].drawn_as.tolist() == [
        "points",
        *2 * ["not drawn"],
    ]
    assert not diamonds(
        plot_loss(n.measurements, measured_limit=np.zeros(3), ax=axes())
    )  # no place on a log axis


def test_what_rounding_may_change_is_a_bar_where_it_can_be_seen():
    n, ax = network(), axes()
    error = np.full(n.measurements.gradient_change.shape, np.nan)
    error[:, 2] = 0.001 * n.measurements.gradient_change.values[:, 2]
    error[:, 4] = 0.3 * n.measurements.gradient_change.values[:, 4]
    n.summary["change_error"] = (n.measurements.gradient_change.dims, error)
    plot_breakdown(n.measurements, n.summary, ax=ax)
    assert len(ax.collections) == 3
    y = float(n.measurements.gradient_change[1, 4, 0])
    ((x, low), (_, high)) = ax.collections[1].get_segments()[0]
    assert (x, low, high) == pytest.approx((1.0, 0.7 * y, 1.3 * y))
    assert any("float64 spot check" in text for text in legend_texts(ax))
    numbers = numbers_of_breakdown(n.measurements, n.summary)
    bars = numbers[numbers.drawn_as == "error bars"]
    np.testing.assert_array_equal(bars.y, error[:, [2, 4], 0].ravel())


def test_numbers_say_how_each_point_is_drawn():
    n = network(checkpoints=1)
    n.measurements.loss[0] = [1.0, 2.0, 0.0, np.inf, np.nan]
    numbers = numbers_of_loss(n.measurements, lemma2_limit=0.5)
    assert numbers.drawn_as.tolist() == [
        "not drawn",
        "line",
        "not drawn",
        "overflow",
        "after overflow",
        "vertical line",
    ]
    np.testing.assert_array_equal(numbers.y[:5], n.measurements.loss.values[0])
    assert numbers.x.iloc[-1] == 0.5


def test_accuracy_has_a_dot_in_its_colour_for_each_checkpoint_and_the_run_behind():
    n, ax = network(), axes()
    assert plot_training_accuracy(n.measurements, n.history, ax) is ax
    run, *dots = ax.lines
    np.testing.assert_array_equal(drawn(run)[0], n.history.step)
    np.testing.assert_array_equal(drawn(run)[1], n.history.accuracy)
    assert [dot.get_xdata()[0] for dot in dots] == [0, 12, 24]
    assert [dot.get_ydata()[0] for dot in dots] == n.measurements.train_accuracy.values.tolist()
    assert [dot.get_color() for dot in dots] == checkpoint_colors(3)
    assert ax.get_xlabel() == "training step"
    assert ax.get_xlim()[1] > 24


def test_accuracy_without_steps_is_that_at_eta_zero_and_the_run_is_left_out():
    n, ax = network(steps=False), axes()
    plot_training_accuracy(n.measurements, n.history, ax)
    assert [dot.get_ydata()[0] for dot in ax.lines] == n.measurements.accuracy.values[:, 0].tolist()
    assert [dot.get_xdata()[0] for dot in ax.lines] == [0, 1, 2]
    assert "order" in ax.get_xlabel()


def test_accuracy_that_a_checkpoint_does_not_say_is_the_one_measured():
    n, ax = network(), axes()
    n.measurements.train_accuracy[1:] = np.nan  # of other people's checkpoints
    plot_training_accuracy(n.measurements, None, ax)
    expected = [n.measurements.train_accuracy.values[0], *n.measurements.accuracy.values[1:, 0]]
    assert [dot.get_ydata()[0] for dot in ax.lines] == expected
    assert not ax.texts
    assert ax.get_ylabel() == "accuracy"
    bare = n.measurements.drop_vars("accuracy").assign_coords(
        train_accuracy=("checkpoint", np.full(3, np.nan))
    )
    ax = plot_training_accuracy(bare, None, axes())
    assert [text.get_text() for text in ax.texts] == ["accuracy not known"]


@pytest.mark.parametrize("steps", [True, False])
def test_a_single_checkpoint_stands_at_its_own_place(steps):
    n = network(checkpoints=1, steps=steps)
    ax = plot_training_accuracy(n.measurements, None, axes())
    place = float(ax.lines[0].get_xdata()[0])
    assert ax.get_xticks().tolist() == [place]
    assert ax.get_xlim() == (place - 1, place + 1)

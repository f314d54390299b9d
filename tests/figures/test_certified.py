"""Certified labels: the lines are the numbers, and the numbers the data's."""

import numpy as np

from figures import draw_certified_labels, numbers_of_certified_labels, plot_certified_labels
from tests.figures.examples import ETAS, axes, drawn, legend_texts, network


def test_the_lines_are_the_shares_of_one_checkpoint():
    labels, ax = network().labels, axes()
    assert plot_certified_labels(labels, checkpoint=1, ax=ax) is ax
    lines = {line.get_label(): drawn(line) for line in ax.lines}
    wanted = {
        "unchanged, as measured": labels.kept,
        "certified, best bound": labels.certified,
        "pattern-telescoped": labels.certified_by.sel(rung="pattern-telescoped"),
        "telescoped": labels.certified_by.sel(rung="telescoped"),
    }
    for label, values in wanted.items():
        np.testing.assert_array_equal(lines[label], [ETAS[1:], values[1]])
    assert set(legend_texts(ax)) == set(wanted)
    assert ax.get_xscale() == "log"


def test_a_few_checkpoints_stand_side_by_side():
    labels = network(checkpoints=7).labels
    figure = draw_certified_labels(labels)
    assert [ax.get_title() for ax in figure.axes] == [f"step {k} (60 examples)" for k in (0, 24, 48, 72)]
    numbers = numbers_of_certified_labels(labels)
    assert set(numbers.panel) == {"step 0", "step 24", "step 48", "step 72"}
    assert set(numbers.series) == {"kept", "certified", "pattern-telescoped", "telescoped"}
    (one,) = draw_certified_labels(labels, checkpoints=[-1]).axes
    assert one.get_title() == "step 72 (60 examples)"

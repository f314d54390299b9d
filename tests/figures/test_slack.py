"""The slack's bars: what is drawn is what the numbers say."""

import numpy as np
import pytest

from figures import draw_slack, numbers_of_slack, plot_slack
from tests.figures.examples import CAUSES, axes, legend_texts, network, slack_of


def bars(ax):
    return [bar for bar in ax.patches if bar.get_gid()]


def test_bars_stack_from_the_measured_change_to_the_published_bound():
    n, ax = network(), axes()
    assert plot_slack(n.slack, eta=0.01, ax=ax) is ax
    numbers = numbers_of_slack(n.slack, eta=0.01)
    one = n.slack.sel(eta=0.01)
    for place in range(3):
        height = float(one.log10_rung[0, place])
        for cause in CAUSES:
            (bar,) = [b for b in bars(ax) if b.get_gid() == cause and abs(b.get_x() + 0.36 - place) < 0.01]
            (y,) = numbers[(numbers.series == cause) & (numbers.x == 12 * place)].y
            assert y == float(one.share.sel(cause=cause)[place])
            assert (bar.get_y(), bar.get_height()) == pytest.approx((height, y))
            height += y
        assert height == pytest.approx(float(one.log10_rung[-1, place]))
        assert height < ax.get_ylim()[1]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["0", "12", "24"]
    assert len(bars(ax)) == 12
    assert all(bar.get_alpha() is None and bar.get_facecolor()[3] == 1 for bar in bars(ax))


def test_a_share_that_tightens_is_drawn_below_the_measured_change():
    share = np.array([[[1.0]], [[-2.0]], [[3.0]], [[-0.5]]]) * np.ones((4, 2, 4))
    slack = slack_of(share, np.full((2, 4), -2.0), {"checkpoint": ["a", "b"]})
    ax = axes()
    plot_slack(slack, ax=ax)
    spans = {b.get_gid(): sorted((b.get_y(), b.get_y() + b.get_height())) for b in bars(ax)}
    assert spans == {
        "alignment": [-2, -1],
        "data-independent norms": [-4, -2],
        "conditioning and α": [-1, 2],
        "one worst κ": [-4.5, -4],
    }
    assert ax.get_ylim()[0] < -4.5
    assert "tightens" in legend_texts(ax)
    published = [c for c in ax.collections if "as published" in c.get_label()]
    assert [segment[0][1] for segment in published[0].get_segments()] == [-0.5, -0.5]


def test_an_infinite_share_is_open_ended_and_nothing_is_drawn_after_it():
    n = network()
    n.slack["share"][2, 1], n.slack["share"][3, 1] = np.inf, np.nan
    n.slack["log10_rung"][3, 1] = np.inf
    n.slack["premises_hold"][3, 1] = False
    ax = axes()
    plot_slack(n.slack, ax=ax)
    (endless,) = [bar for bar in bars(ax) if bar.get_gid().endswith("endless")]
    assert endless.get_y() + endless.get_height() == pytest.approx(ax.get_ylim()[1])
    assert endless.get_height() > 0.1 * np.diff(ax.get_ylim())
    assert endless.get_hatch()
    assert endless.get_facecolor()[3] < 1  # its premise fails
    assert any(text.get_text() == "∞" for text in ax.texts)
    assert {"infinite, rest unknown", "premise fails (pale)"} <= set(legend_texts(ax))
    assert len(bars(ax)) == 11
    numbers = numbers_of_slack(n.slack)
    own = numbers[numbers.x == 12].set_index("series").drawn_as
    assert own[CAUSES].tolist() == ["bar", "bar", "overflow", "not drawn"]


def test_the_published_bound_is_written_above_each_bar():
    n = network()
    n.slack["log10_rung"][-1] = np.array([1e2, np.inf, np.nan])[:, None]
    figure = draw_slack(n.slack)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts[-4:] == ["Theorem 1:", "$10^{100}$", "∞", "–"]


def test_shares_that_can_be_read_are_written_on_the_bars():
    share = np.array([4.0, 0.01, 5.25, 3.0])[:, None, None] * np.ones((4, 1, 4))
    ax = axes()
    plot_slack(slack_of(share, np.zeros((1, 4)), {"checkpoint": ["a"]}), ax=ax)
    assert [text.get_text() for text in ax.texts][:3] == ["4.0", "5.2", "3.0"]

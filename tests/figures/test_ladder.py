"""The ladder along η and through training, and the slack's bars: what is drawn is what the numbers say."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from figures import (
    draw_ladder,
    draw_slack,
    numbers_of_function_bounds,
    numbers_of_ladder,
    numbers_of_ladder_through_training,
    numbers_of_slack,
    plot_function_bounds,
    plot_ladder_through_training,
    plot_slack,
    write_report_figures,
)
from figures.style import claim_looks
from tests.figures.examples import CAUSES, ETAS, axes, drawn, legend_texts, marks, network, slack_of

FUNCTION, LAYERWISE, OWN = "theorem1-function", "theorem1-function-layerwise", "my-own-bound"


def ladder(heights, checkpoints=3, **premises):
    """Envelopes whose bounds lie this many orders of magnitude above η, which the measured change equals."""
    grid, shape = ("checkpoint", "eta"), (checkpoints, len(ETAS) - 1)
    measured = np.broadcast_to(np.log10(ETAS[1:]), shape)
    rise = 0.1 * np.arange(checkpoints)[:, None]
    coords = {
        "checkpoint": [f"epoch-{k:02d}" for k in range(checkpoints)],
        "eta": ETAS[1:],
        "step": ("checkpoint", 12 * np.arange(checkpoints)),
    }
    return {
        claim: xr.Dataset(
            {
                "log10_measured": (grid, measured + rise),
                "log10_measured_median": (grid, measured - 0.5 + rise),
                "log10_bound": (grid, measured + height + rise),
                "premises_hold": (grid, np.broadcast_to(premises.get(claim.replace("-", "_"), 1.0), shape)),
            },
            coords,
            {"claim": claim, "subject": "function"},
        )
        for claim, height in heights.items()
    }


def line_of(ax, label):
    (line,) = [line for line in ax.lines if line.get_label() == label]
    return line


def test_lines_through_training_are_the_numbers_at_the_nearest_eta():
    envelopes, ax = ladder({FUNCTION: 8, "telescoped": 1}), axes()
    assert plot_ladder_through_training(envelopes, eta=0.02, ax=ax) is ax
    numbers = numbers_of_ladder_through_training(envelopes, eta=0.02)
    names = {"measured, worst example": 0.0, "measured, median": -0.5, "telescoped": 1.0, FUNCTION: 8.0}
    for series, height in names.items():
        own = numbers[numbers.series == series]
        np.testing.assert_allclose(own.y, -2 + height + 0.1 * np.arange(3))
        np.testing.assert_array_equal(own.x, [0, 12, 24])
        line = line_of(ax, {FUNCTION: "Theorem 1"}.get(series, series))
        np.testing.assert_array_equal(drawn(line), [own.x, own.y])
    assert "η = 0.01" in ax.get_xlabel()
    assert "training step" in ax.get_xlabel()


def test_the_figure_has_both_ends_of_training_and_the_way_between_them_in_one_look():
    envelopes = ladder({FUNCTION: 8, "telescoped": 1, "neyshabur": 3})
    figure = draw_ladder(envelopes)
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == ["step 0", "step 24", "through training, η = 0.01"]
    numbers = numbers_of_ladder(envelopes)
    assert numbers.panel.unique().tolist() == titles
    for label in ("Theorem 1", "telescoped", "Neyshabur et al."):
        assert (
            len({(line_of(ax, label).get_color(), line_of(ax, label)._dash_pattern[0]) for ax in figure.axes})
            == 1
        )
    for ax in figure.axes:
        own = numbers[(numbers.panel == ax.get_title()) & (numbers.series == FUNCTION)]
        np.testing.assert_array_equal(drawn(line_of(ax, "Theorem 1")), [own.x, own.y])


def test_the_legend_climbs_the_ladder():
    ax = axes()
    plot_function_bounds(ladder({FUNCTION: 8, OWN: 5, "telescoped": 1, LAYERWISE: np.inf}), ax=ax)
    assert legend_texts(ax)[2:] == ["telescoped", OWN, "Theorem 1", "Theorem 1, layerwise: infinite"]


def test_eight_bounds_are_told_apart_and_rungs_keep_their_look():
    names = [FUNCTION, "telescoped", *(f"claim-{k}" for k in range(6))]
    looks = claim_looks(names)
    assert len({color for color, _ in looks.values()}) == len({str(dash) for _, dash in looks.values()}) == 8
    assert claim_looks(["zzz", FUNCTION])[FUNCTION] == looks[FUNCTION]


def test_an_axis_is_cut_below_a_bound_far_above_and_says_so():
    envelopes, ax = ladder({FUNCTION: 80, "telescoped": 1, "neyshabur": 3}), axes()
    plot_function_bounds(envelopes, ax=ax)
    top = ax.get_ylim()[1]
    assert 3 < top < 10
    assert ax.get_ylim()[0] < -3
    (mark,) = marks(ax)
    assert (mark.get_xdata()[0], mark.get_markerfacecolor()) == (ETAS[1], "none")
    assert mark.get_markeredgecolor() == claim_looks([FUNCTION])[FUNCTION][0]
    texts = legend_texts(ax)
    assert "Theorem 1: above, $10^{77}$ to $10^{81}$" in texts
    assert f"bound runs above $10^{{{top:g}}}$, where the axis is cut" in texts
    numbers = numbers_of_function_bounds(envelopes, checkpoints=[-1])
    assert set(numbers[numbers.series == FUNCTION].drawn_as) == {"above the axis"}
    ax = axes()
    plot_ladder_through_training(envelopes, ax=ax)
    assert [mark.get_xdata()[0] for mark in marks(ax)] == [0, 12, 24]


@pytest.mark.parametrize("heights", [{FUNCTION: 35, "telescoped": 1}, {FUNCTION: 80}])
def test_a_tall_axis_that_is_needed_is_not_cut(heights):
    ax = axes()
    plot_function_bounds(ladder(heights), ax=ax)
    assert ax.get_ylim()[1] > heights[FUNCTION]
    assert not marks(ax)


@pytest.mark.parametrize(
    ("truth", "note", "word"),
    [
        (0.0, " (premise fails)", {"premise fails"}),
        (np.nan, " (premise not known)", {"premise not known"}),
        (np.array([1.0, 1.0, 0.0, 0.0]), " (premise fails where faint)", {"line", "premise fails"}),
        (1.0, "", {"line"}),
    ],
)
def test_a_bound_whose_premises_fail_is_faint_and_said_to_be(truth, note, word):
    envelopes, ax = ladder({FUNCTION: 8, "telescoped": 1}, theorem1_function=truth), axes()
    plot_function_bounds(envelopes, ax=ax)
    assert f"Theorem 1{note}" in legend_texts(ax)
    numbers = numbers_of_function_bounds(envelopes, checkpoints=[-1])
    own = numbers[numbers.series == FUNCTION]
    assert set(own.drawn_as) == word
    faint = [line for line in ax.lines if line.get_alpha() is not None]
    strong = [
        line for line in ax.lines if line.get_linewidth() == 1.3 and line.get_label().startswith("Theorem 1")
    ]
    if "line" in word:
        held = own[own.drawn_as == "line"]
        np.testing.assert_array_equal(drawn(strong[0]), [held.x, held.y])
    assert bool(strong) == ("line" in word)
    assert len(faint) == (word != {"line"})
    for line in faint:
        np.testing.assert_array_equal(drawn(line)[1], own.y)
        assert line.get_linewidth() < 1


def test_a_claim_of_the_users_own_is_on_the_ladder(tmp_path):
    n = replace(network(), envelopes=ladder({FUNCTION: 8, OWN: 3}), slack=None)
    other = ladder({"about-losses": 2})["about-losses"].assign_attrs(subject="loss")
    n = replace(n, envelopes={**n.envelopes, "about-losses": other})
    (path,) = [p for p in write_report_figures(tmp_path, [n], formats=[]) if p.stem.startswith("ladder")]
    text = path.read_text()
    assert OWN in text
    assert "about-losses" not in text


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

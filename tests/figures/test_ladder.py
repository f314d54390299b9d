"""The ladder of bounds along η and through training: what is drawn is what the numbers say."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from figures import (
    draw_ladder,
    numbers_of_function_bounds,
    numbers_of_ladder,
    numbers_of_ladder_through_training,
    plot_function_bounds,
    plot_ladder_through_training,
    write_report_figures,
)
from figures.style import claim_looks
from tests.figures.examples import ETAS, axes, drawn, legend_texts, marks, network

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
    numbers = numbers_of_function_bounds(envelopes)
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
    numbers = numbers_of_function_bounds(envelopes)
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

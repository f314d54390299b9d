"""Measured change against bounds, along η and through training; bounds far beyond floats, infinite, or missing."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from figures import (
    draw_jacobian_bounds,
    draw_ladder,
    draw_step_limits,
    numbers_of_function_bounds,
    numbers_of_jacobian_bounds,
    numbers_of_ladder,
    numbers_of_ladder_through_training,
    plot_function_bounds,
    plot_ladder_through_training,
    write_report_figures,
)
from figures.style import claim_looks
from tests.figures.examples import ETAS, axes, drawn, legend_texts, marks, network

FUNCTION, LAYERWISE, OWN = "theorem1-function", "theorem1-function-layerwise", "my-own-bound"


def functions(n):
    return {claim: n.envelopes[claim] for claim in (FUNCTION, LAYERWISE)}


@pytest.mark.parametrize(("checkpoint", "position"), [(-1, 2), (0, 0), ("epoch-01", 1)])
def test_measured_and_bounds_are_drawn_as_given(checkpoint, position):
    envelopes, ax = functions(network()), axes()
    assert plot_function_bounds(envelopes, checkpoint=checkpoint, ax=ax) is ax
    worst, median, *bounds = ax.lines
    part = envelopes[FUNCTION].isel(checkpoint=position)
    np.testing.assert_array_equal(drawn(worst), [ETAS[1:], part.log10_measured[1:]])
    np.testing.assert_array_equal(drawn(median), [ETAS[1:], part.log10_measured_median[1:]])
    given = [envelope.log10_bound.values[position, 1:] for envelope in envelopes.values()]
    bounds = [line for line in bounds if line not in marks(ax)]
    for line, values in zip(bounds, sorted(given, key=lambda values: values[0]), strict=True):
        np.testing.assert_array_equal(drawn(line)[1], values)
    assert len({line.get_color() for line in bounds}) == 2
    assert ax.yaxis.get_major_formatter()(300.0, 0) == "$10^{300}$"


def test_a_bound_that_is_infinite_everywhere_is_said_to_be():
    envelopes, ax = functions(network()), axes()
    envelopes[FUNCTION]["log10_bound"][:] = np.inf
    envelopes["of-mine"] = envelopes[LAYERWISE].copy(deep=True)
    envelopes["of-mine"]["log10_bound"][:] = np.nan
    plot_function_bounds(envelopes, ax=ax)
    assert legend_texts(ax)[2:] == ["Theorem 1, layerwise"]  # nothing that is not drawn
    note = ax.get_legend().get_title().get_text()
    assert note.split() == ["Not", "drawn,", "infinite:", "Theorem", "1;", "no", "number:", "of-mine"]
    assert not marks(ax)
    assert np.isfinite(ax.get_ylim()).all()


def test_a_bound_that_turns_infinite_is_marked_where_it_does():
    envelopes, ax = functions(network()), axes()
    for claim in (FUNCTION, LAYERWISE):
        envelopes[claim]["log10_bound"][:] = 3.0  # nowhere above the panel
    envelopes[LAYERWISE]["log10_bound"][:, 3:] = np.inf
    envelopes[FUNCTION]["log10_measured"][:, 1] = -np.inf
    plot_function_bounds(envelopes, ax=ax)
    (mark,) = marks(ax)
    assert mark.get_xdata()[0] == ETAS[3]
    assert "bound turns infinite" in legend_texts(ax)


def test_a_bound_whose_premise_ends_does_not_turn_infinite():
    """As Neyshabur's, which speaks of small steps alone: beyond them there is no bound, and none that is infinite."""
    envelopes, ax = ladder({FUNCTION: 3, "neyshabur": 2}), axes()
    envelopes["neyshabur"]["log10_bound"][:, 2:] = np.inf
    envelopes["neyshabur"]["premises_hold"] = envelopes["neyshabur"]["log10_bound"] < np.inf
    plot_function_bounds(envelopes, ax=ax)
    (mark,) = marks(ax)
    assert mark.get_xdata()[0] == envelopes["neyshabur"].eta[2]
    assert legend_texts(ax)[-1] == "bound ends: a premise fails"


def test_no_legend_is_wider_than_its_figure():
    names = {f"a-claim-of-someone-with-a-rather-long-name-{'and-more-' * k}{k}": 1 + k for k in range(9)}
    for columns, draw in (
        (1, lambda: draw_ladder(ladder(names, checkpoints=1))),
        (2, lambda: draw_ladder(ladder(names))),
    ):
        figure = draw()
        figure.draw_without_rendering()
        extent = figure.legends[0].get_window_extent()
        assert extent.x0 >= 0, columns
        assert extent.x1 <= figure.bbox.x1, columns
        assert extent.y0 >= 0
        assert (
            min(ax.get_window_extent().height for ax in figure.axes) > 1.5 * figure.dpi
        )  # room for the data


def test_a_legend_has_as_many_columns_as_fit():
    network_ = network()
    figure = draw_step_limits([network_])
    figure.draw_without_rendering()
    extent = figure.legends[0].get_window_extent()
    assert extent.x0 >= 0
    assert extent.x1 <= figure.bbox.x1
    assert len(figure.legends[0].get_texts()) == 6
    assert extent.height < 4 * 0.15 * figure.dpi  # three rows of two


def test_the_ladder_of_a_single_checkpoint_has_no_training():
    figure = draw_ladder(ladder({FUNCTION: 3}, checkpoints=1))
    assert [ax.get_title() for ax in figure.axes] == ["step 0"]


def test_claims_with_different_left_sides_each_get_their_measured_line():
    envelopes, ax = functions(network()), axes()
    envelopes[LAYERWISE]["log10_measured"] = envelopes[LAYERWISE]["log10_measured"] + 1
    plot_function_bounds(envelopes, ax=ax)
    assert sum(text.startswith("measured, worst") for text in legend_texts(ax)) == 2


def test_the_numbers_are_of_the_checkpoint_that_is_drawn():
    envelopes = functions(network(checkpoints=7))
    numbers = numbers_of_function_bounds(envelopes, checkpoint="epoch-03")
    assert numbers.checkpoint.unique().tolist() == ["epoch-03"]
    shown = numbers[numbers.series == LAYERWISE]
    np.testing.assert_array_equal(shown.y, envelopes[LAYERWISE].log10_bound.values[3])


def test_jacobians_have_a_panel_a_layer_with_their_own_lines():
    envelopes = {"theorem1-jacobian": network().envelopes["theorem1-jacobian"]}
    figure = draw_jacobian_bounds(envelopes)
    assert [ax.get_title() for ax in figure.axes] == ["layer 1", "layer 2", "layer 3"]
    part = envelopes["theorem1-jacobian"].isel(checkpoint=-1)
    for k, ax in enumerate(figure.axes):
        np.testing.assert_array_equal(drawn(ax.lines[0])[1], part.log10_measured.values[1:, k])
        np.testing.assert_array_equal(drawn(ax.lines[2])[1], part.log10_bound.values[1:, k])
    numbers = numbers_of_jacobian_bounds(envelopes)
    assert numbers.layer.unique().tolist() == part.layer.values.tolist()


def test_a_deep_network_shows_some_layers_and_says_so():
    envelope = network().envelopes["theorem1-jacobian"]
    deep = envelope.isel(layer=np.arange(40) % 3).assign_coords(layer=[f"w{k}" for k in range(40)])
    figure = draw_jacobian_bounds({"theorem1-jacobian": deep})
    titles = [ax.get_title() for ax in figure.axes]
    assert (len(titles), titles[0], titles[-1]) == (16, "layer 1", "layer 40")
    assert "16 of 40" in figure.get_suptitle()


def test_an_unknown_checkpoint_and_no_claim_are_refused():
    with pytest.raises(ValueError, match="no checkpoint 'late'"):
        plot_function_bounds(functions(network()), checkpoint="late", ax=axes())
    with pytest.raises(ValueError, match="no checkpoint 3"):
        plot_function_bounds(functions(network()), checkpoint=3, ax=axes())
    with pytest.raises(ValueError, match="no claim"):
        plot_function_bounds({}, ax=axes())


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


@pytest.mark.parametrize("silent", [np.nan, np.inf])
def test_what_no_bound_speaks_of_is_not_drawn(silent):
    """As the outputs' change in another norm, where the network has no bound on it."""
    envelopes = ladder({"path-metric-midpoint": silent, FUNCTION: 8, "telescoped": 1})
    own = envelopes["path-metric-midpoint"]
    own["log10_measured"] = own["log10_measured"] + 0.3
    numbers = numbers_of_ladder(envelopes)
    assert not [series for series in numbers.series.unique() if "measured" in series and "path" in series]
    main = numbers[numbers.series == "measured, worst example"].y
    assert main.max() == float(envelopes[FUNCTION]["log10_measured"].max())
    figure = draw_ladder(envelopes)
    (legend,) = figure.legends
    assert not [text.get_text() for text in legend.get_texts() if "path metric" in text.get_text()]
    assert "path metric (ℓ1)" in " ".join(legend.get_title().get_text().split())
    own["log10_bound"][0, 2] = 4.0  # at one point it speaks
    assert sum("measured" in series for series in numbers_of_ladder(envelopes).series.unique()) == 4


def test_the_legend_climbs_the_ladder():
    ax = axes()
    plot_function_bounds(ladder({FUNCTION: 8, OWN: 5, "telescoped": 1, LAYERWISE: np.inf}), ax=ax)
    assert legend_texts(ax)[2:] == ["telescoped", OWN, "Theorem 1"]


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

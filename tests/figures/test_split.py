"""The constant's bars: what is drawn is what the numbers say; and the breakdown with residuals held."""

import numpy as np
import pytest

from figures import (
    draw_frozen_breakdown,
    draw_split,
    numbers_of_frozen_breakdown,
    numbers_of_split,
    plot_frozen_breakdown,
    plot_split_across_layers,
    plot_split_through_training,
)
from figures.style import checkpoint_colors
from tests.figures.examples import FACTORS, axes, drawn, hollow, legend_texts, network


def bars(ax):
    """The bars' ends (lower, upper) by factor and place."""
    return {
        (bar.get_gid(), round(bar.get_x() + bar.get_width() / 2)): tuple(
            sorted((bar.get_y(), bar.get_y() + bar.get_height()))
        )
        for bar in ax.patches
        if bar.get_gid()
    }


def marker(ax, label):
    (line,) = [line for line in ax.lines if line.get_label() == label]
    return drawn(line)


def test_a_bar_s_parts_are_stacked_by_their_sign_and_add_up_to_the_line():
    split, ax = network().split, axes()
    layer = "layers.1.weight"
    split["log10_factor"][:, 1, 0, 2] = [1.5, -0.5, 0.75]
    assert plot_split_through_training(split, layer=layer, ax=ax) is ax
    found = bars(ax)
    assert len(found) == 9
    assert [found[name, 1] for name in FACTORS] == [(0.0, 1.5), (-0.5, 0.0), (1.5, 2.25)]
    factors = split.log10_factor.sel(layer=layer).isel(eta=0)
    for place in range(3):
        heights = [upper - lower for (_, at), (lower, upper) in found.items() if at == place]
        np.testing.assert_allclose(np.sort(heights), np.sort(abs(factors[:, place])), rtol=1e-12)
    (total,) = [c for c in ax.collections if c.get_label() == "C of the split's examples"]
    np.testing.assert_allclose(
        [segment[0][1] for segment in total.get_segments()], factors.sum("factor"), rtol=1e-12
    )
    median = np.log10(split.example_constant.sel(layer=layer, quantile=0.5).isel(eta=0))
    np.testing.assert_array_equal(marker(ax, "single examples' median"), [np.arange(3), median])
    own = np.log10(split.jacobian_constant.sel(layer=layer).isel(eta=0))
    np.testing.assert_array_equal(marker(ax, "Theorem 1b's own"), [np.arange(3), own])
    assert [text.get_text() for text in ax.get_xticklabels()] == ["0", "12", "24"]


def test_layers_of_a_checkpoint_stand_side_by_side():
    split, ax = network().split, axes()
    plot_split_across_layers(split, checkpoint="epoch-01", ax=ax)
    weights = split.log10_factor.isel(checkpoint=1, eta=0, layer=[0, 2, 4])
    for place in range(3):
        lower, upper = bars(ax)["single examples", place]
        assert upper - lower == pytest.approx(abs(float(weights[0, place])))
    assert [text.get_text() for text in ax.get_xticklabels()] == ["1", "2", "3"]
    with pytest.raises(ValueError, match="no checkpoint"):
        plot_split_across_layers(split, checkpoint="nowhere")


def test_a_constant_without_factors_has_no_bar():
    """As of a layer whose Jacobians do not change: A = 0 has no cancellation."""
    split, ax = network().split, axes()
    split["log10_factor"][0, 0, 0, 0], split["log10_factor"][1:, 0, 0, 0] = -np.inf, np.nan
    split["jacobian_constant"][:] = np.nan
    plot_split_through_training(split, ax=ax)
    assert {place for _, place in bars(ax)} == {1, 2}
    assert "Theorem 1b's own" not in legend_texts(ax)
    numbers = numbers_of_split(split)
    one = numbers[(numbers.panel == "layer 1") & (numbers.checkpoint == "epoch-00")].set_index("series")
    assert one.drawn_as["cancellation"] == "not drawn"


def test_the_whole_figure_has_a_panel_for_some_layers_and_checkpoints():
    split = network(checkpoints=7).split
    figure = draw_split(split)
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == ["layer 1 (input)", "layer 2", "layer 3", "step 0", "step 36", "step 72"]
    figure.draw_without_rendering()
    (legend,) = figure.legends
    extent = legend.get_window_extent()
    assert extent.x0 >= 0
    assert extent.x1 <= figure.bbox.x1
    numbers = numbers_of_split(split)
    assert numbers.panel.unique().tolist() == ["layer 1", "layer 2", "layer 3", *titles[3:]]
    small = numbers[(numbers.panel == "step 36") & (numbers.series == "residuals")]
    np.testing.assert_array_equal(small.y, split.log10_factor[2, 3, 0, [0, 2, 4]])
    alone = network(checkpoints=1).split  # through a training of one checkpoint there is nothing to see
    assert [ax.get_title() for ax in draw_split(alone).axes] == ["step 0"]
    assert numbers_of_split(alone).panel.unique().tolist() == ["step 0"]


def test_the_breakdown_with_residuals_held_is_drawn_as_the_whole_is():
    n, ax = network(), axes()
    n.summary["frozen_above_noise"][1, 2, 0] = False
    assert plot_frozen_breakdown(n.measurements, n.summary, ax=ax) is ax
    lines = [line for line in ax.lines if line.get_color() in checkpoint_colors(3)]
    x, y = drawn(lines[0])
    np.testing.assert_array_equal(
        [x, y], [n.measurements.eta[1:], n.measurements.frozen_residual_change[0, 1:, 0]]
    )
    (faint,) = hollow(ax)
    np.testing.assert_array_equal(drawn(faint)[0], n.measurements.eta[[2]])
    assert any("deep relative trust" in text for text in legend_texts(ax))
    numbers = numbers_of_frozen_breakdown(n)
    assert numbers.panel.unique().tolist() == ["whole", "residuals held"]
    assert numbers.series.unique().tolist() == [
        "breakdown",
        "deep relative trust",
        "breakdown, residuals held",
    ]
    figure = draw_frozen_breakdown(n)
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()

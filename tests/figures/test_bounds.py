"""Measured change against bounds, with bounds far beyond floating point, infinite, or missing."""

import numpy as np
import pytest

from figures import (
    draw_jacobian_bounds,
    numbers_of_function_bounds,
    numbers_of_jacobian_bounds,
    plot_function_bounds,
)
from tests.figures.examples import ETAS, axes, drawn, legend_texts, marks, network

FUNCTION, LAYERWISE = "theorem1-function", "theorem1-function-layerwise"


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
    plot_function_bounds(envelopes, ax=ax)
    assert "Theorem 1: infinite" in legend_texts(ax)
    assert "Theorem 1, layerwise" in legend_texts(ax)
    assert not marks(ax)
    assert np.isfinite(ax.get_ylim()).all()


def test_a_bound_that_turns_infinite_is_marked_where_it_does():
    envelopes, ax = functions(network()), axes()
    envelopes[LAYERWISE]["log10_bound"][:, 3:] = np.inf
    envelopes[FUNCTION]["log10_measured"][:, 1] = -np.inf
    plot_function_bounds(envelopes, ax=ax)
    (mark,) = marks(ax)
    assert mark.get_xdata()[0] == ETAS[3]
    assert "bound turns infinite" in legend_texts(ax)


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

"""Runs side by side: what is drawn is what the numbers say, and runs without a common axis have one."""

import numpy as np
import pytest

import figures
from figures.curves import COLUMNS
from tests.figures.examples import drawn, network


def runs(**options):
    """Three runs of different lengths, with their largest constants."""
    made = [network(f"run {k}", checkpoints=2 + k, seed=k, **options) for k in range(3)]
    for one in made:
        one.summary["largest_constant"] = one.summary["constant"].max("layer")
    return made


@pytest.mark.parametrize("kind", ["breakdown", "constants", "limits"])
def test_the_numbers_are_what_the_lines_show(kind):
    networks = runs()
    figure = getattr(figures, f"draw_compared_{kind}")(networks)
    numbers = getattr(figures, f"numbers_of_compared_{kind}")(networks)
    assert tuple(numbers.columns) == COLUMNS
    assert list(dict.fromkeys(numbers.panel)) == ["run 0", "run 1", "run 2"]
    (ax,) = figure.axes
    lines = [line for line in ax.lines if line.get_label() != "deep relative trust: $C = 1$"]
    seen = [point for line in lines for point in zip(*drawn(line), strict=True)]
    shown = numbers[numbers.drawn_as.isin(["line", "lower limits"]) & (numbers.y > 0)]
    assert sorted(seen) == sorted(zip(shown.x, shown.y, strict=True))
    assert len(seen) > 5
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts[:3] == ["run 0", "run 1", "run 2"]
    assert len(texts) == len(set(texts))
    figure.draw_without_rendering()
    assert legend.get_window_extent().x0 >= 0
    assert legend.get_window_extent().x1 <= figure.bbox.x1


def test_where_the_search_ended_is_shown():
    networks = runs()
    networks[0].limits["measured"][:] = np.nan
    numbers = figures.numbers_of_compared_limits(networks)
    ended = numbers[(numbers.panel == "run 0") & (numbers.drawn_as == "lower limits")]
    assert ended.y.tolist() == [7.0, 7.0]
    texts = [text.get_text() for text in figures.draw_compared_limits(networks).legends[0].get_texts()]
    assert texts.count("measured is above (end of search)") == 1


def test_runs_that_do_not_all_know_their_steps_lie_at_their_places():
    mixed = [runs()[0], runs(steps=False)[1]]
    numbers = figures.numbers_of_compared_constants(mixed)
    assert set(numbers.x_name) == {"checkpoint"}
    assert numbers.x.tolist() == [0, 1, 0, 1, 2]
    alike = figures.numbers_of_compared_constants(runs())
    assert set(alike.x_name) == {"step"}
    assert alike.x.max() == 36


@pytest.mark.filterwarnings("error")
def test_nothing_known_is_said():
    networks = runs()
    for one in networks:
        one.summary["largest_constant"][:] = np.nan
    (ax,) = figures.draw_compared_constants(networks).axes
    assert [text.get_text() for text in ax.texts] == ["no constant could be measured"]
    assert ax.get_ylabel() == r"effective constant $C$ at $\eta_0$"

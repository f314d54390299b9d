"""Runs side by side: what is drawn is what the numbers say, and runs without a common axis have one."""

from dataclasses import replace

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


def test_names_that_runs_have_in_common_are_on_their_axis():
    networks = runs(steps=False)
    ticks = figures.draw_compared_limits(networks).axes[0].get_xticklabels()
    assert [text.get_text() for text in ticks] == [f"epoch-{k:02d}" for k in range(4)]  # of the longest
    other = networks[1].measurements.assign_coords(checkpoint=["a", "b", "c"])
    mixed = [networks[0], replace(networks[1], measurements=other)]
    ticks = figures.draw_compared_limits(mixed).axes[0].get_xticklabels()
    assert not {"epoch-00", "a"} & {text.get_text() for text in ticks}


@pytest.mark.parametrize(("kind", "label"), [("breakdown", "deep relative trust"), ("limits", "Lemma 2")])
def test_dashed_lines_that_lie_on_each_other_are_all_seen(kind, label):
    networks = runs()  # of one depth: so all three lines are the same
    figure = getattr(figures, f"draw_compared_{kind}")(networks)
    (ax,) = figure.axes
    own = [line for line in ax.lines if line.is_dashed() and drawn(line)[0].size]
    assert len({line.get_color() for line in own}) == len(own) == 3
    seen = [dashes_of(line) for line in own]
    assert {one[1] for one in seen} == {(3.0, 10.5)}
    assert sorted(-offset % 13.5 for offset, _ in seen) == [0.0, 4.5, 9.0]  # no dash on another
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    handle = legend.get_lines()[texts.index(f"{label} (dashed)")]
    assert handle.get_color() == "0.35"  # of no run
    assert handle.get_color() not in {line.get_color() for line in own}


def test_dashed_lines_apart_have_their_own_dashes():
    networks = runs()
    networks[1].limits["lemma2"][:] *= 2
    (ax,) = figures.draw_compared_limits(networks).axes
    own = [line for line in ax.lines if line.is_dashed() and drawn(line)[0].size]
    assert [dashes_of(line)[1] for line in own] == [(3.0, 6.0), (3.0, 1.5), (3.0, 6.0)]


def test_what_lemma_2_allows_at_a_single_checkpoint_is_seen():
    networks = [network(f"run {k}", checkpoints=1, seed=k) for k in range(2)]
    (ax,) = figures.draw_compared_limits(networks).axes
    points = [line for line in ax.lines if line.get_marker() == "_"]
    assert [drawn(line)[1].tolist() for line in points] == [[2 ** (1 / 3) - 1]] * 2


def dashes_of(line):
    """Offset and pattern as they were given."""
    offset, pattern = line._unscaled_dash_pattern
    return offset, tuple(pattern)


@pytest.mark.filterwarnings("error")
def test_nothing_known_is_said():
    networks = runs()
    for one in networks:
        one.summary["largest_constant"][:] = np.nan
    (ax,) = figures.draw_compared_constants(networks).axes
    assert [text.get_text() for text in ax.texts] == ["no constant could be measured"]
    assert ax.get_ylabel() == r"effective constant $C$ at $\eta_0$"

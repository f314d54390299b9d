"""The whole of Figure 1, and labels of checkpoints."""

import numpy as np
import pytest

from figures import draw_figure1, numbers_of_figure1
from figures.curves import COLUMNS
from figures.labels import label_of, training_progress
from tests.figures.examples import drawn, network


def test_it_has_a_row_for_each_network_and_the_numbers_are_what_its_lines_show():
    networks = [network("2 layers"), network("16 layers", checkpoints=4, seed=1)]
    networks[1].measurements.loss[2, 3:] = np.inf
    networks[0].summary.above_noise[0, :3] = False
    figure = draw_figure1(networks)
    numbers = numbers_of_figure1(networks)
    assert tuple(numbers.columns) == COLUMNS
    panels = iter(figure.axes)
    for n in networks:
        for name in ("loss", "breakdown", "training accuracy"):
            seen = [drawn(line) for line in next(panels).lines if not str(line.get_gid()).startswith("mark")]
            part = numbers[numbers.panel == f"{n.title}: {name}"]
            part = part[part.drawn_as.isin(["line", "points", "below noise floor"])]
            lemma2 = name != "training accuracy"
            seen = [line for line in seen if not (lemma2 and set(line[1]) == {0.0, 1.0})]
            points = sorted((x, y) for xs, ys in seen for x, y in zip(xs, ys, strict=True))
            assert points == sorted(zip(part.x, part.y, strict=True))
            assert len(points) > 0
    assert [ax.get_title(loc="left") for ax in figure.axes[:6:3]] == ["2 layers", "16 layers"]


def test_every_checkpoint_is_in_the_key():
    figure = draw_figure1([network(checkpoints=4)])
    (key,) = figure.axes[2].child_axes
    assert [text.get_text() for text in key.get_yticklabels()] == ["0", "12", "24", "36"]
    many = draw_figure1([network(checkpoints=60)]).axes[2].child_axes[0]
    assert 5 <= len(many.get_yticks()) <= 10


def test_no_network_is_refused():
    with pytest.raises(ValueError, match="at least one network"):
        draw_figure1([])


def test_checkpoints_are_called_by_step_else_epoch_else_name():
    data = network().measurements
    assert label_of(data, 2) == "24"
    bare = data.drop_vars("step")
    assert label_of(bare, 2) == "epoch-02"
    epochs = bare.assign_coords(epoch=("checkpoint", [0, 1, 5]))
    assert (training_progress(epochs).name, label_of(epochs, 2)) == ("epoch", "5")
    same = epochs.assign_coords(epoch=("checkpoint", [0, 0, 0]))  # as good as unknown: three dots on one spot
    assert training_progress(same).name == "checkpoint"

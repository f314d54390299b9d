"""What holds of the whole package: no torch, no global state, no changed input; poor data are drawn too."""

import copy
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr

import figures
from figures import style
from tests.figures.examples import axes, network

PLOTS = {
    "loss": lambda n, ax: figures.plot_loss(n.measurements, lemma2_limit=n.limits.lemma2, ax=ax),
    "breakdown": lambda n, ax: figures.plot_breakdown(n.measurements, n.summary, ax=ax),
    "accuracy": lambda n, ax: figures.plot_training_accuracy(n.measurements, n.history, ax),
    "limits": lambda n, ax: figures.plot_step_limits(n.limits, ax=ax),
    "training": lambda n, ax: figures.plot_constants_through_training(n.summary, ax=ax),
    "layers": lambda n, ax: figures.plot_constants_across_layers(n.summary, ax=ax),
    "bounds": lambda n, ax: figures.plot_function_bounds(
        {claim: e for claim, e in n.envelopes.items() if "function" in claim}, ax=ax
    ),
    "ladder": lambda n, ax: figures.plot_ladder_through_training(
        {claim: e for claim, e in n.envelopes.items() if "function" in claim}, ax=ax
    ),
    "slack": lambda n, ax: figures.plot_slack(n.slack, ax=ax),
    "held": lambda n, ax: figures.plot_frozen_breakdown(n.measurements, n.summary, ax=ax),
    "split, training": lambda n, ax: figures.plot_split_through_training(n.split, ax=ax),
    "split, layers": lambda n, ax: figures.plot_split_across_layers(n.split, ax=ax),
    "labels": lambda n, ax: figures.plot_certified_labels(n.labels, ax=ax),
}


def everything_missing(n):
    """``n`` with no value known."""
    for data in (
        n.measurements,
        n.summary,
        n.limits,
        n.slack,
        n.split,
        n.labels,
        n.alignment,
        n.curvature,
        *n.envelopes.values(),
    ):
        for name in (*data, *(key for key in data.coords if key == "train_accuracy")):
            if data[name].dtype == float:
                data[name][:] = np.nan
    return n


@pytest.mark.parametrize("name", PLOTS)
def test_the_given_axes_come_back_and_inputs_stay_as_they_were(name):
    n, ax = network(), axes()
    before = copy.deepcopy(n)
    assert PLOTS[name](n, ax) is ax
    ax.get_figure().draw_without_rendering()
    for now, then in (
        (n.measurements, before.measurements),
        (n.summary, before.summary),
        (n.limits, before.limits),
        (n.slack, before.slack),
        (n.split, before.split),
        (n.labels, before.labels),
        (n.alignment, before.alignment),
        (n.curvature, before.curvature),
    ):
        xr.testing.assert_identical(now, then)
    for claim, envelope in n.envelopes.items():
        xr.testing.assert_identical(envelope, before.envelopes[claim])
    assert n.history.equals(before.history)


@pytest.mark.parametrize("name", PLOTS)
def test_without_axes_there_is_a_new_figure_in_style_and_the_settings_outside_stay(name):
    settings = dict(mpl.rcParams)
    ax = PLOTS[name](network(), None)
    assert ax.get_figure().get_figwidth() == style.COLUMN_WIDTH
    assert ax.xaxis.label.get_fontsize() == style.PAPER["axes.labelsize"]
    assert all(text.get_fontsize() == style.PAPER["legend.fontsize"] for text in ax.get_legend().get_texts())
    assert dict(mpl.rcParams) == settings


@pytest.mark.parametrize("name", PLOTS)
@pytest.mark.parametrize(
    ("checkpoints", "steps", "missing"),
    [(1, True, False), (1, False, False), (3, True, False), (1, True, True), (3, True, True)],
)
@pytest.mark.filterwarnings("error")
def test_a_single_checkpoint_and_no_value_at_all_are_drawn(name, checkpoints, steps, missing):
    n = network(checkpoints=checkpoints, steps=steps)
    ax = PLOTS[name](everything_missing(n) if missing else n, None)
    ax.get_figure().draw_without_rendering()
    assert np.isfinite([*ax.get_xlim(), *ax.get_ylim()]).all()


@pytest.mark.parametrize("name", [name for name in PLOTS if name not in ("bounds", "ladder")])
def test_axes_without_anything_to_show_say_so(name):
    n = everything_missing(network())
    n.history["accuracy"] = np.nan
    ax = PLOTS[name](n, None)
    assert len(ax.texts) == 1


def test_legends_lie_outside_the_data():
    for name, plot in PLOTS.items():
        ax = plot(network(), None)
        figure = ax.get_figure()
        figure.draw_without_rendering()
        legend = ax.get_legend().get_window_extent()
        assert legend.y0 >= ax.get_window_extent().y1 - 1, name
        assert legend.y1 <= figure.bbox.y1 + 1, name


@pytest.mark.filterwarnings("error")
def test_whole_figures_of_poor_data_can_be_saved(tmp_path):
    settings = dict(mpl.rcParams)
    poor = [everything_missing(network("a", checkpoints=1)), network("b", checkpoints=1, steps=False)]
    written = figures.write_report_figures(tmp_path, poor, formats=["png"])
    assert {path.suffix for path in written} == {".png", ".csv"}
    assert dict(mpl.rcParams) == settings


def lab(colors, see):
    """CIE L*a*b*, as someone sees them: ``see`` is a matrix on linear RGB."""
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4) @ see.T
    xyz = linear.clip(0, 1) @ np.array(
        [[0.4339, 0.2126, 0.0177], [0.3762, 0.7152, 0.1095], [0.1899, 0.0722, 0.8729]]
    )
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


DEUTERANOPIA = [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]  # Machado et al. 2009


def test_neighbouring_checkpoints_can_be_told_apart():
    """Steps 0, 4 and 8 of ten: two colours 10 apart in L*a*b* can be told, those of viridis are 7 to 13."""
    for see in (np.eye(3), np.array(DEUTERANOPIA)):
        for count in (3, 5, 10):
            seen = lab(np.array(style.checkpoint_colors(count)), see)
            assert np.linalg.norm(np.diff(seen, axis=0), axis=1).min() > 10, count


def test_colours_can_be_told_apart():
    for colors in (style.checkpoint_colors(10), style.layer_colors(16)):
        # Perceived lightness (Rec. 709) rises all the way: the order is seen without any sense of hue.
        lightness = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in colors]
        assert np.all(np.diff(lightness) > 0)
        assert lightness[-1] < 0.82  # not lost on white
    assert len(set(style.category_colors(list("abcdefghij")).values())) == 10
    assert len(style.category_colors([str(k) for k in range(25)])) == 25


def test_style_context_restores_settings_after_an_error():
    settings = dict(mpl.rcParams)
    seen = []

    def fail():
        with style.context(font_size=20):
            seen.extend((mpl.rcParams["font.size"], mpl.rcParams["axes.linewidth"]))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert seen == [20, 0.6]
    assert dict(mpl.rcParams) == settings


CODE = """
import sys, figures
from pathlib import Path
from tests.figures.examples import network
figures.write_report_figures(Path(sys.argv[1]), [network()], formats=["png"])
import matplotlib.pyplot
assert not matplotlib.pyplot.get_fignums()
ours = [name for name in ("torch", "analysis", "probes", "studies") if name in sys.modules]
assert not ours, ours
"""


def test_of_our_packages_the_vocabulary_alone_is_imported_even_when_drawing(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")

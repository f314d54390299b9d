"""Files: the numbers beside the figure, the same bytes for the same figure, whole files or none."""

import io
import re
import zlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fontTools.subset import Options
from fontTools.ttLib import TTFont
from matplotlib.figure import Figure
from matplotlib.image import imread

from figures import (
    FORMATS,
    draw_step_limits,
    numbers_of_all_step_limits,
    save_figure,
    style,
    write_report_figures,
)
from figures import saving as saving_module
from tests.figures.examples import network

SIGNATURES = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}


def test_each_format_and_the_numbers_are_written_and_nothing_else(tmp_path):
    limits = [network()]
    numbers = numbers_of_all_step_limits(limits)
    stem = tmp_path / "new" / "limits-0.5"  # with a dot that is no ending
    written = save_figure(draw_step_limits(limits), stem, numbers, formats=FORMATS)
    assert [path.name for path in written] == [f"limits-0.5.{end}" for end in (*FORMATS, "csv")]
    assert sorted(tmp_path.rglob("*.*")) == sorted(written)
    for path in written[:-1]:
        assert path.read_bytes().startswith(SIGNATURES[path.suffix[1:]])
    back = pd.read_csv(written[-1], dtype=str, keep_default_na=False)
    back = back.assign(x=back.x.map(float), y=back.y.map(float))  # every digit counts
    back = back.astype({name: numbers[name].dtype for name in numbers})
    pd.testing.assert_frame_equal(back, numbers, check_exact=True)


def test_the_same_figure_gives_the_same_bytes_and_no_date(tmp_path):
    for folder in ("one", "two"):
        networks = [network(checkpoints=2)]
        save_figure(
            draw_step_limits(networks), tmp_path / folder / "a", pd.DataFrame({"x": [0.1]}), formats=FORMATS
        )
    first = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    second = {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    assert first == second
    assert len(first) == 4
    for content in first.values():
        assert not any(
            word in content for word in (b"CreationDate", b"<dc:date>", b"Software", b"Matplotlib")
        )


def test_a_failure_keeps_the_former_file_and_leaves_no_other(tmp_path, monkeypatch):
    figure, numbers = draw_step_limits([network()]), pd.DataFrame({"x": [1.0]})
    (png, csv) = save_figure(figure, tmp_path / "a", numbers, formats=["png"])
    former = png.read_bytes()

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving_module.os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        save_figure(draw_step_limits([network(seed=3)]), tmp_path / "a", numbers, formats=["png"])
    assert png.read_bytes() == former
    assert sorted(tmp_path.iterdir()) == sorted([png, csv])


def test_an_unknown_format_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="gif"):
        save_figure(Figure(), tmp_path / "a", pd.DataFrame(), formats=["png", "gif"])
    assert not list(tmp_path.iterdir())


def test_report_has_every_figure_that_there_is_data_for(tmp_path):
    one, two = network("2 layers"), network("16 layers, residual", seed=1)
    two.envelopes["theorem1-jacobian"]["log10_measured"][:] = np.nan  # not measured
    two = replace(two, split=two.split.isel(eta=[0]))  # as by default
    written = write_report_figures(tmp_path, [one, two], formats=[])  # drawing takes seconds
    stems = [path.stem for path in written]
    assert stems == [
        "figure1",
        "limits",
        "constants-2-layers",
        "split-2-layers",
        "residuals-held-2-layers",
        "ladder-2-layers",
        "slack-2-layers",
        "labels-2-layers",
        "curvature-2-layers",
        "alignment-2-layers",
        "jacobian-2-layers",
        "constants-16-layers-residual",
        "split-16-layers-residual",
        "ladder-16-layers-residual",
        "slack-16-layers-residual",
        "labels-16-layers-residual",
        "curvature-16-layers-residual",
        "alignment-16-layers-residual",
    ]
    assert all(path.exists() and path.suffix == ".csv" for path in written)
    with pytest.raises(ValueError, match="different titles"):
        write_report_figures(tmp_path, [one, one])


def log_axes(*, decades: int) -> Figure:
    """Two panels that share their log axes; where they span little, minor ticks have labels."""
    with style.context():
        figure = Figure(figsize=(4.0, 2.5), layout="constrained")
        row = figure.subplots(1, 2, sharey=True)
        for ax in row:
            ax.loglog([1.0, 10.0**decades], [2.0, 3.0 * 10.0**decades])
            ax.set_title("a panel")
            ax.label_outer()
    return figure


@pytest.mark.parametrize("decades", [1, 3], ids=["labelled minor ticks", "plain minor ticks"])
def test_the_picture_is_what_matplotlib_draws_of_the_same_figure(tmp_path, decades):
    with style.context():
        log_axes(decades=decades).savefig(tmp_path / "plain.png", dpi=200)
    save_figure(log_axes(decades=decades), tmp_path / "ours", pd.DataFrame(), formats=["png"])
    np.testing.assert_array_equal(imread(tmp_path / "ours.png"), imread(tmp_path / "plain.png"))


def test_every_format_takes_one_drawing_and_leaves_the_figure_as_it_was(tmp_path, monkeypatch):
    figure, drawn = log_axes(decades=3), []
    draw = Figure.draw
    monkeypatch.setattr(Figure, "draw", lambda self, renderer: (drawn.append(1), draw(self, renderer)))
    axis = figure.axes[0].xaxis
    before = axis.get_minor_locator(), len(figure.axes[0].get_children()), figure.canvas, figure.dpi
    save_figure(figure, tmp_path / "a", pd.DataFrame(), formats=["png", "pdf"])
    assert len(drawn) == 2
    assert before == (
        axis.get_minor_locator(),
        len(figure.axes[0].get_children()),
        figure.canvas,
        figure.dpi,
    )


def test_fonts_in_a_pdf_have_no_tables_that_shape_text(tmp_path):
    before = list(Options._drop_tables_default)
    save_figure(log_axes(decades=3), tmp_path / "a", pd.DataFrame(), formats=["pdf"])
    assert list(Options._drop_tables_default) == before
    content = (tmp_path / "a.pdf").read_bytes()
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, flags=re.DOTALL)
    fonts = [text for text in map(inflated, streams) if text.startswith(b"\x00\x01\x00\x00")]
    assert fonts
    tags = [set(TTFont(io.BytesIO(font)).keys()) for font in fonts]
    assert all("glyf" in own and not own & {"GSUB", "GPOS", "GDEF"} for own in tags)


def inflated(stream: bytes) -> bytes:
    try:
        return zlib.decompress(stream)
    except zlib.error:
        return b""


def test_the_colours_are_seaborns_without_loading_it():
    from seaborn import color_palette

    names = [str(k) for k in range(12)]
    palette = [tuple(color) for color in color_palette("colorblind", 12)]
    assert list(style.category_colors(names).values()) == palette

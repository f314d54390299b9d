"""Files: the numbers beside the figure, the same bytes for the same figure, whole files or none."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from figures import FORMATS, draw_step_limits, numbers_of_all_step_limits, save_figure, write_report_figures
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
        "jacobian-2-layers",
        "constants-16-layers-residual",
        "split-16-layers-residual",
        "ladder-16-layers-residual",
        "slack-16-layers-residual",
        "labels-16-layers-residual",
    ]
    assert all(path.exists() and path.suffix == ".csv" for path in written)
    with pytest.raises(ValueError, match="different titles"):
        write_report_figures(tmp_path, [one, one])

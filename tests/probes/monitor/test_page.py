"""The page of a monitor's log: what was logged, in a figure, in words and in tables, and logs from outside."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import probes
from probes import Monitor
from probes.monitor.page import log_document, log_panels, log_words
from tests.conftest import Probe
from tests.probes.cli.refusals import one_line
from tests.probes.monitor.test_log import HEADER, update
from tests.probes.monitor.trainings import make, make_data, train


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("training") / "run.jsonl"
    with Monitor(make(), log=path, held=make_data(), every=4, updates_every=1) as monitor:
        train(monitor._network, 8, monitor.step)
    return path


def test_one_page_shows_it_all(probe: Probe, log: Path) -> None:
    said = probe("report", log)
    assert said.exit_code == 0, said.output
    out = log.with_name("run-report")
    page = (out / "report.html").read_text()
    for words in (
        "In 8 recorded steps",
        "Lemma 2",
        "layers.1.weight",
        "own time by the processor",
        "Step limits",
    ):
        assert words in page, words
    assert (out / "training.png").is_file()
    assert "In 8 recorded steps from 1 to 8" in said.stdout
    assert "page" not in said.stderr


def test_the_document_has_the_log_s_numbers(probe: Probe, log: Path, tmp_path: Path) -> None:
    said = json.loads(probe("report", log, "--out", tmp_path / "page", "--json").stdout)
    found = probes.read_log(log)
    (one,) = said["logs"].values()
    assert one["steps"] == 8
    assert [layer["name"] for layer in one["layers"]] == found["layer"].values.tolist()
    values = found["relative_update"].values
    assert [layer["largest"] for layer in one["layers"]] == values.max(0).tolist()
    assert [layer["at_step"] for layer in one["layers"]] == (1 + values.argmax(0)).tolist()
    assert [row["step"] for row in one["limits"]] == [4, 8]
    assert [row["measured"] for row in one["limits"]] == found["measured"].values.tolist()
    assert said["page"] == str(tmp_path / "page" / "report.html")
    assert str(tmp_path / "page" / "training.csv") in said["figures"]


def test_panels_show_what_was_logged(log: Path) -> None:
    found = probes.read_log(log)
    updates, trust, limits, constant = log_panels(found)
    assert [series.label for series in updates.series] == [f"layers.{k}.weight" for k in range(3)]
    assert np.array_equal(updates.series[0].middle, found["relative_update"].values[:, 0])
    assert np.array_equal(trust.series[0].middle, found["deep_relative_trust"].values)
    shown = {series.label: series.middle for series in limits.series}
    assert np.array_equal(shown["measured"], found["measured"].values)
    assert np.array_equal(shown["largest relative update"], found["relative_update"].values.max(1))
    assert np.array_equal(constant.series[0].middle, found["constant"].values)
    assert all(panel.log_x and panel.log_y for panel in (updates, trust, limits, constant))


def test_many_layers_are_a_band(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    layers = {f"{k}.weight": (k + 1) / 100 for k in range(11)}
    line = {"step": 1, "relative_update": layers, "deep_relative_trust": 0.9}
    path.write_text(HEADER + json.dumps(line) + "\n")
    (series,) = log_panels(probes.read_log(path))[0].series
    assert series.label == "median of 11 layers (band: all)"
    assert (series.low, series.middle, series.high) == (0.01, 0.06, 0.11)


def test_logs_stand_beside_runs_and_other_logs(
    probe: Probe, log: Path, measured: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text(HEADER + update(1))
    said = probe("report", measured, log, other, "--out", tmp_path / "page")
    assert said.exit_code == 0, said.output
    page = (tmp_path / "page" / "report.html").read_text()
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", page, re.DOTALL)
    assert len(headings) >= 3
    assert {f"training-{k}.png" for k in (1, 2)} <= {path.name for path in (tmp_path / "page").iterdir()}


def test_what_a_log_from_outside_says_is_text(probe: Probe, tmp_path: Path) -> None:
    name = "<script>alert(1)</script>$\\frac$_"
    path = tmp_path / "<b>.jsonl"
    path.write_text(HEADER + update(1, name=name) + '{"step": 2, "failed": "<img src=x>"}\n')
    said = probe("report", path, "--out", tmp_path / "page")
    assert said.exit_code == 0, said.output
    page = (tmp_path / "page" / "report.html").read_text()
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page
    assert "<img src=x>" not in page


def test_a_log_with_nothing_known(probe: Probe, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(HEADER + update(1, None) + '{"step": 1, "limits": {}}\n')
    found = probes.read_log(path)
    assert dict(log_words(found))["updates"] == "No step's relative updates are recorded."
    assert log_document(found)["layers"][0]["median"] is None
    assert probe("report", path).exit_code == 0
    path.write_text(HEADER)
    assert probe("report", path).exit_code == 0


def test_what_is_no_log_is_one_line(probe: Probe, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Dear diary\n")
    one_line(probe("report", tmp_path / "notes.txt"), "notes.txt: line 1 is none that a monitor writes")
    (tmp_path / "log.jsonl").write_text(HEADER)
    one_line(probe("report", tmp_path / "log.jsonl", "--title", "net"), "--title: names one network")
    one_line(
        probe("report", tmp_path / "log.jsonl", tmp_path / "log.jsonl", "--out", tmp_path / "o"),
        "is given twice",
    )

"""Each command's Python function: the table in ``help(probes)``, the same names, the same errors, the same numbers."""

from __future__ import annotations

import importlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest

import analysis
import probes
from analysis.documents import limit_rows
from probes import InputError
from probes.cli.main import main
from probes.cli.spelling import spelled, spelled_in
from tests.conftest import Probe

TABLE = dict(re.findall(r"``probe (\w+)``\s+:func:`([\w.]+)`", probes.__doc__ or ""))


def test_every_command_has_a_function_that_is_there_and_documented() -> None:
    assert set(TABLE) == set(main.commands)
    for name in TABLE.values():
        module, _, function = name.rpartition(".")
        found = getattr(importlib.import_module(module), function)
        assert callable(found), name
        assert found.__doc__, name


def options(command: str) -> set[str]:
    return {str(one.name) for one in main.commands[command].params}


@pytest.mark.parametrize("command", ["run", "limit"])
def test_options_are_fields_of_settings_and_source(command: str) -> None:
    ours = {field.name for kind in (probes.SliceSettings, probes.Source) for field in fields(kind)}
    of_the_command = {"config", "out", "as_json", "wide", "dry", "shard"}
    assert options(command) - of_the_command <= ours


def test_options_of_training_are_fields_of_its_settings() -> None:
    ours = {field.name for field in fields(probes.TrainingSettings)}
    of_the_network = {"depth", "width", "activation", "residual", "norm", "bias"}
    assert options("train") - {"config", "out", "as_json"} - of_the_network <= ours


FAULTS: dict[str, tuple[list[str], Callable[[], Any]]] = {
    "run": (
        ["run", "nowhere.pt", "--out", "out"],
        lambda: probes.measure_run("nowhere.pt", "out"),
    ),
    "run settings": (
        ["run", "nowhere.pt", "--chunk", "5", "--split-examples", "-1", "--out", "out"],
        lambda: probes.SliceSettings(split_examples=-1),
    ),
    "limit": (
        ["limit", "nowhere.pt", "--direction", "quantize"],
        lambda: probes.measure_limits("nowhere.pt", settings=probes.SliceSettings(direction="quantize")),
    ),
    "layers": (["layers", "nowhere.pt"], lambda: probes.layers("nowhere.pt")),
    "report": (["report", "nowhere"], lambda: probes.report("nowhere")),
    "report of several": (["report", "a", "b"], lambda: probes.report(["a", "b"])),
    "compare": (["compare", "nowhere"], lambda: probes.compare(["nowhere"])),
    "distance": (["distance", "a.pt", "b.pt"], lambda: probes.distance("a.pt", "b.pt")),
    "distance along": (["distance", "a.pt"], lambda: probes.distance("a.pt")),
}


@pytest.mark.parametrize("name", FAULTS)
def test_both_say_the_same_of_what_cannot_be_used(
    name: str, probe: Probe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, call = FAULTS[name]
    said = probe(*arguments)
    assert said.exit_code == 2
    with pytest.raises(InputError) as error:
        call()
    with click.Context(main):  # in which messages name options
        assert said.stderr.strip() == f"probe: {spelled(str(error.value))}"


def test_both_find_the_same(probe: Probe, trained: Path, measured: Path, tmp_path: Path) -> None:
    said = json.loads(probe("limit", trained, "--json").stdout)
    settings = probes.SliceSettings(device="auto")
    found = probes.measure_limits(trained, settings=settings)
    assert limit_rows(found, analysis.step_limits(found)) == said
    assert probes.distance(trained) == json.loads(probe("distance", trained, "--json").stdout)
    assert [layer.to_json() for layer in probes.layers(trained)] == json.loads(
        probe("layers", trained, "--json").stdout
    )
    report = json.loads(probe("report", measured, "--out", tmp_path / "one", "--json").stdout)
    same = probes.report(measured, out=tmp_path / "two")
    with click.Context(main):
        assert spelled_in(same.document["verdicts"]) == report["verdicts"]
    assert same.page == tmp_path / "two" / "report.html"
    assert [path.name for path in same.figures] == [Path(name).name for name in report["figures"]]
    shutil.copytree(measured, tmp_path / "again")
    compared = json.loads(probe("compare", measured, tmp_path / "again", "--json").stdout)
    assert probes.compare([measured, tmp_path / "again"]).document == compared

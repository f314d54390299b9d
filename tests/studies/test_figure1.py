"""The whole reproduction on a small scale, interrupted and continued."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import pytest
import xarray as xr

import probes
import studies.figure1 as reproduction
from analysis import judge
from probes.cli.main import main
from probes.cli.spelling import spelled_in
from tests.conftest import Probe

NETWORKS = {"plain": ("Plain", 2, False), "residual": ("Residual", 3, True)}


def tiny() -> reproduction.Preset:
    schedule = dict.fromkeys(NETWORKS, (2, None, 0.9, "2"))
    etas = np.array([0.0, 0.001, 0.01, 0.1])
    return reproduction.Preset(
        width=6, etas=etas, jacobian=2, curvature=0, chunk=50, batch_size=100, schedule=schedule
    )


def test_presets_are_of_the_papers_three_networks() -> None:
    networks = {name: (depth, residual) for name, (_, depth, residual) in reproduction._NETWORKS.items()}
    assert networks == {
        "2-layer": (2, False),
        "16-layer": (16, False),
        "16-layer-residual": (16, True),
    }
    for preset in reproduction.PRESETS.values():
        assert set(preset.schedule) == set(networks)


def judged(measurements: xr.Dataset, *, title: str, **_: Any) -> Any:
    """Of all findings the verdicts alone."""
    return SimpleNamespace(title=title, verdicts=judge(measurements))


def test_from_nothing_interrupted_and_continued(
    probe: Probe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(1)
    y = np.arange(300) % 10
    np.savez(tmp_path / "d.npz", x=(random.normal(size=(300, 6)) + y[:, None]).astype(np.float32), y=y)
    monkeypatch.setattr(reproduction, "_NETWORKS", NETWORKS)
    monkeypatch.setitem(reproduction.PRESETS, "quick", tiny())
    with monkeypatch.context() as patch:
        patch.setattr(reproduction, "find", judged)
        whole = reproduction.reproduce("quick", tmp_path / "whole", data=str(tmp_path / "d.npz"))
    arguments = [
        *("figure1", "--data", tmp_path / "d.npz", "--out", tmp_path / "parts"),
        *("--format", "png", "--json"),
    ]
    real, calls = reproduction.measure_run, []

    def interrupted(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(reproduction, "measure_run", interrupted)
        patch.setattr(reproduction, "find", judged)
        stopped = probe(*arguments)
    assert stopped.exit_code == 130
    assert "continues" in stopped.stderr
    again = probe(*arguments)
    assert again.exit_code == 0, again.output
    document = json.loads(again.stdout)
    expected = [(one.title, verdict) for one in whole for verdict in one.verdicts]
    rows = [{**verdict.to_json(), "network": title} for title, verdict in expected]
    with click.Context(main):  # the command speaks of its own options
        assert document["verdicts"] == spelled_in(rows)
    assert (tmp_path / "parts" / "report" / "figure1.png").is_file()
    for name in NETWORKS:
        a, b = (probes.load(tmp_path / kind / name / "measurements") for kind in ("whole", "parts"))
        assert a.equals(b)
    other = probe(*arguments, "--seed", 1)
    assert other.exit_code == 2
    assert "another study" in other.stderr

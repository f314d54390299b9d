"""Runs side by side: the numbers of each one's own limits and verdicts, and three figures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import probes
from analysis import judge
from analysis.comparison import comparison_table
from tests.conftest import Probe
from tests.probes.cli.refusals import one_line


@pytest.fixture(scope="module")
def noisy(probe: Probe, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another run of the same checkpoints, in a folder of the same name."""
    out = tmp_path_factory.mktemp("noisy") / "run"
    result = probe("run", trained, "--direction", "noise", "--etas", "0.0001,0.01", "--out", out)
    assert result.exit_code == 0, result.output
    return out


def test_runs_side_by_side(probe: Probe, measured: Path, noisy: Path, tmp_path: Path) -> None:
    result = probe("compare", measured, noisy, "--out", tmp_path / "out", "--format", "png", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert set(document) == {"runs", "verdicts", "figures", "page"}
    names = [str(measured), str(noisy)]  # both folders are called run
    assert [row["run"] for row in document["runs"]] == [names[0], names[0], names[1], names[1]]
    limits = json.loads(
        probe("report", measured, "--out", tmp_path / "r", "--format", "png", "--json").stdout
    )
    assert limits["verdicts"]
    for row, path, place in zip(
        document["runs"], (measured, measured, noisy, noisy), (0, -1, 0, -1), strict=True
    ):
        data = probes.load(path).isel(checkpoint=place)
        assert row["checkpoint"] == str(data["checkpoint"].values)
        assert row["depth"] == 3
        assert row["loss"] == float(data["loss"][0])
        assert row["accuracy"] == float(data["accuracy"][0])
        assert row["measured"] == pytest.approx(float(data["step_limit"]), nan_ok=True)
        assert row["eta"] == 0.01
        assert row["breakdown"] == float(data["gradient_change"].sel(eta=0.01, layer="layers.0.weight"))
        growth = np.prod(1 + data["relative_perturbation"].sel(eta=1e-4)[data["is_weight"].values]) - 1
        moving = data["gradient_change"].sel(eta=1e-4).max()
        assert row["constant"] == pytest.approx(float(moving / growth), rel=1e-9)
    judged = [
        {v.claim: v for v in judge(probes.load(path).isel(checkpoint=[-1]))} for path in (measured, noisy)
    ]
    assert document["verdicts"]["lemma2-limit"] == {
        name: own["lemma2-limit"].words for name, own in zip(names, judged, strict=True)
    }
    for claim, words in document["verdicts"].items():
        assert len({own[claim].status for own in judged}) == 2, claim
        assert list(words) == names
    figures = [Path(path).name for path in document["figures"]]
    assert figures == [
        f"{name}.{kind}" for name in ("breakdown", "constants", "limits") for kind in ("png", "csv")
    ]
    assert all(Path(path).stat().st_size > 100 for path in document["figures"])


def test_for_reading(probe: Probe, measured: Path, noisy: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(noisy, other)
    (other / "slices" / "0002.nc").unlink()
    result = probe("compare", measured, other)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split()[:2] == ["run", "checkpoint"]
    assert [line.split()[0] for line in lines[2:6]] == ["run", "run", "other", "other"]
    assert any(line.split()[:1] == ["lemma2-limit"] for line in lines)
    warning = "WARNING: other: 2 of 3 checkpoints measured: the run is not finished, and the same command continues it"
    assert warning in lines
    again = probe("compare", measured, measured.parent / ".." / measured.parent.name / "run")
    one_line(again, str(measured), "is given twice")


def test_two_runs_alike_differ_in_no_verdict(probe: Probe, measured: Path, tmp_path: Path) -> None:
    shutil.copytree(measured, tmp_path / "copy")
    result = probe("compare", measured, tmp_path / "copy")
    assert "no claim fares differently" in result.stdout


def test_what_cannot_be_compared(probe: Probe, measured: Path, tmp_path: Path) -> None:
    one_line(probe("compare", measured), str(measured), "at least two")
    one_line(probe("compare", measured, tmp_path), "run.json")
    (tmp_path / "file").touch()
    assert probe("compare", measured, tmp_path, "--out", tmp_path / "file").exit_code == 2


def test_a_narrow_terminal(
    probe: Probe, measured: Path, noisy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("probes.cli.commands.compare.room", lambda *, wide: None if wide else 60)
    narrow = probe("compare", measured, noisy)
    assert narrow.exit_code == 0, narrow.output
    assert "(--wide also shows: L" in narrow.stdout
    table = narrow.stdout.partition("figures: add")[0].replace(str(measured), "run").splitlines()
    assert max(map(len, table)) <= 60
    wide = probe("compare", measured, noisy, "--wide").stdout
    assert {"L", "predicted", "accuracy"} <= set(wide.splitlines()[0].split())
    assert max(map(len, wide.splitlines())) > 100


def test_the_headings_say_which_eta(probe: Probe, measured: Path, noisy: Path, tmp_path: Path) -> None:
    heading = probe("compare", measured, noisy).stdout.splitlines()[0]
    assert "breakdown (η = 0.01)  C at η₀  " in heading


def row(eta: float) -> dict[str, object]:
    numbers = dict.fromkeys(
        ("loss", "accuracy", "breakdown", "constant", "lemma2", "predicted", "measured"), 0.5
    )
    return {"run": "a", "checkpoint": "b", "depth": 3, "eta": eta, **numbers}


def test_an_eta_that_differs_is_said_at_each_breakdown() -> None:
    near = comparison_table([row(0.00785), row(0.00785)])
    assert [line[5] for line in near] == ["breakdown (η = 0.00785)", "0.5", "0.5"]
    mixed = comparison_table([row(0.00785), row(0.01)])
    assert [line[5] for line in mixed] == ["breakdown (η near 0.01)", "0.5 (η = 0.00785)", "0.5 (η = 0.01)"]

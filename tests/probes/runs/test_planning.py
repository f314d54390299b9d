"""What is settled before a run: the chunk is chosen once for a folder, and nothing is touched meanwhile."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import probes
import probes.runs.planning
import probes.runs.run
from probes import InputError, SliceSettings, measure_slice
from probes.checkpoints.checkpoint import write_checkpoint
from probes.runs.chunk import ChunkChoice
from probes.runs.estimate import Estimate
from probes.runs.folder import RunFolder
from probes.runs.planning import check_folder
from probes.runs.run import Source, measure, measure_run, plan
from probes.runs.seals import digest_of
from tests.support.reference import make, make_data

SETTINGS = SliceSettings(etas=np.array([0.0, 0.1]), limit=False, curvature=False, ladder=False)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """Two checkpoints and a data file."""
    x, y = make_data(20)
    np.savez(tmp_path / "data.npz", x=x.numpy(), y=y.numpy())
    for step in (1, 2):
        network = make(seed=step)
        details = {"network": network.spec.to_json(), "step": step}
        write_checkpoint(tmp_path / "net" / f"step-{step}.safetensors", network.state_dict(), details)
    return Source((str(tmp_path / "net"),), data=str(tmp_path / "data.npz"))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()


def chosen(monkeypatch: pytest.MonkeyPatch, chunk: int | None) -> None:
    """Let the timing come out so; None: it must not be made."""

    def choose(*_: Any, **__: Any) -> ChunkChoice:
        assert chunk is not None, "it was timed again"
        return ChunkChoice(chunk, "for a test", 1e-5, {chunk: 1e-5})

    monkeypatch.setattr(probes.runs.planning, "choose_chunk", choose)


def test_who_continues_a_run_keeps_its_chunk(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen(monkeypatch, 7)
    measure_run(source, SETTINGS, tmp_path / "whole", auto_chunk=True)
    manifest = json.loads((tmp_path / "whole" / "run.json").read_text())
    assert manifest["plan"]["chunk"] == "auto"
    assert manifest["details"]["chunk"]["size"] == 7
    assert manifest["details"]["chunk"]["timings"] == {"7": 1e-5}
    calls: list[str] = []

    def stumbling(*arguments: Any, **options: Any) -> Any:
        calls.append(options["label"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure_slice(*arguments, **options)

    monkeypatch.setattr(probes.runs.run, "measure_slice", stumbling)
    with pytest.raises(KeyboardInterrupt):
        measure_run(source, SETTINGS, tmp_path / "cut", auto_chunk=True)
    chosen(monkeypatch, None)
    measure_run(source, SETTINGS, tmp_path / "cut", auto_chunk=True)
    assert calls == ["step-1", "step-2", "step-2"]
    for index in range(2):
        name = f"slices/{index:04d}.nc"
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    found = probes.load(tmp_path / "cut")
    assert found.attrs["chunk"] == 7
    chosen(monkeypatch, 7)
    explicit = measure(source, replace(SETTINGS, chunk=7))
    xr.testing.assert_equal(explicit, found)


def test_auto_continues_a_run_whose_chunk_was_given(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure_run(source, replace(SETTINGS, chunk=3), tmp_path / "run")
    (tmp_path / "run" / "slices" / "0001.nc").unlink()
    chosen(monkeypatch, None)
    measure_run(source, SETTINGS, tmp_path / "run", auto_chunk=True)
    assert probes.load(tmp_path / "run").attrs["chunk"] == 3
    with pytest.raises(InputError, match=r"other chunk"):
        measure_run(source, replace(SETTINGS, chunk=4), tmp_path / "run")


def test_of_two_that_begin_at_once_the_first_decides(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen(monkeypatch, 7)
    opened = RunFolder.open

    def second(self: RunFolder, plan: Any, details: Any) -> None:
        other = {**details, "chunk": ChunkChoice(5, "chosen elsewhere").to_json()}
        opened(self, plan, other).close()
        opened(self, plan, details)

    monkeypatch.setattr(RunFolder, "open", second)
    measure_run(source, SETTINGS, tmp_path / "run", auto_chunk=True)
    assert probes.load(tmp_path / "run").attrs["chunk"] == 5


def test_a_damaged_choice_is_named(tmp_path: Path, source: Source) -> None:
    measure_run(source, SETTINGS, tmp_path / "run", auto_chunk=True)
    path = tmp_path / "run" / "run.json"
    manifest = json.loads(path.read_text())
    for details in (None, {}, {"chunk": 7}, {"chunk": {"size": -1}}):
        damaged = {**manifest, "details": details}
        path.write_text(json.dumps({**damaged, "sha256": digest_of(damaged)}))
        with pytest.raises(InputError, match=r"run\.json: the chunk .* damaged"):
            measure_run(source, SETTINGS, tmp_path / "run", auto_chunk=True)


def test_less_memory_than_thought_holds_for_the_next_checkpoint(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []

    def halved(*arguments: Any, settings: SliceSettings, **options: Any) -> Any:
        given.append(settings.chunk)
        return measure_slice(*arguments, settings=replace(settings, chunk=10), **options)

    monkeypatch.setattr(probes.runs.run, "measure_slice", halved)
    measure_run(source, SETTINGS, tmp_path / "run")
    assert given == [1000, 10]


def test_nothing_is_written_and_the_folder_is_refused_as_by_the_run(tmp_path: Path, source: Source) -> None:
    """The same line as :meth:`RunFolder.open`, and nothing touched."""
    _, planned = plan(source, SETTINGS, tmp_path / "new" / "run", auto_chunk=True)
    assert not (tmp_path / "new").exists()
    RunFolder(tmp_path / "run").open(planned.plan, {})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    other = {**planned.plan, "seed": 1, "loss": "mse"}
    bad = [(tmp_path / "run", other), (tmp_path / "mine", other)]
    bad += [(tmp_path / "mine" / "thesis.tex", other), (tmp_path / "mine" / "thesis.tex" / "x", other)]
    for path, wanted in bad:
        lines = []
        for refuse in (check_folder, lambda path, plan: RunFolder(path).open(plan, {})):
            with pytest.raises(InputError) as caught:
                refuse(path, wanted)
            lines.append(str(caught.value))
        assert lines[0] == lines[1]
    with pytest.raises(InputError, match="File name too long"):
        check_folder(tmp_path / ("x" * 300), other)
    check_folder(tmp_path / "run", planned.plan)
    check_folder(tmp_path / "new" / "run", planned.plan)
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["thesis.tex"]
    assert not (tmp_path / "new").exists()


def test_a_folder_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def access(path: Any, _: int) -> bool:
        asked.append(str(path))
        return False

    monkeypatch.setattr(os, "access", access)
    with pytest.raises(InputError, match=r"run: cannot be written \(Permission denied\); choose another"):
        check_folder(tmp_path / "new" / "run", {})
    assert asked == [str(tmp_path)]


@pytest.mark.parametrize(("seconds", "said"), [(31.0, True), (29.0, False), (float("nan"), False)])
def test_a_long_run_says_so_beforehand(
    tmp_path: Path,
    source: Source,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    seconds: float,
    said: bool,
) -> None:
    told = Estimate(seconds, 1e6, 2, 0, 20)
    settle: Callable[..., Any] = probes.runs.run.plan_run
    monkeypatch.setattr(probes.runs.run, "plan_run", lambda *a, **k: replace(settle(*a, **k), estimate=told))
    measure_run(source, SETTINGS, tmp_path / "run")
    captured = capsys.readouterr()
    assert captured.err == (f"probe: {told.line()}\n" if said else "")
    assert captured.out == ""


def test_an_estimate_is_of_what_remains(tmp_path: Path, source: Source) -> None:
    measure_run(source, SETTINGS, tmp_path / "run")
    (tmp_path / "run" / "slices" / "0001.nc").unlink()
    _, planned = plan(source, SETTINGS, tmp_path / "run", estimate=True)
    assert planned.measured == [True, False]
    assert planned.estimate is not None
    assert (planned.estimate.remaining, planned.estimate.measured) == (1, 1)
    assert planned.estimate.seconds > 0
    assert plan(source, SETTINGS, tmp_path / "run")[1].estimate is None  # a short run

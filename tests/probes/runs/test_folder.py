"""What is kept on disk: exact, whole or absent, and never mistaken for another run's."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

import probes
from probes import InputError
from probes.runs.export import export
from probes.runs.folder import RunFolder

IDENTITY: dict[str, Any] = {"etas": [0.0, 0.1], "checkpoints": ["a", "b"], "nested": (1, 2)}


def write(folder: Path, parts: list[xr.Dataset]) -> RunFolder:
    with RunFolder(folder).open(IDENTITY, {"command": ["probe"]}) as run:
        for index, part in enumerate(parts):
            run.write_slice(index, part)
    return run


def test_an_unfinished_run_says_so(tmp_path: Path, parts: list[xr.Dataset]) -> None:
    run = write(tmp_path / "run", parts[:1])
    assert probes.load(tmp_path / "run").attrs["complete"] == "false"
    assert run.has_slice(0)
    assert not run.has_slice(1)
    RunFolder(tmp_path / "run").open({**IDENTITY, "nested": [1, 2]}, {})  # the same identity continues it


def test_another_runs_folder_is_refused(tmp_path: Path, parts: list[xr.Dataset]) -> None:
    write(tmp_path / "run", parts)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    for other in ({**IDENTITY, "etas": [0.0, 0.2]}, {**IDENTITY, "more": 1}, {"etas": IDENTITY["etas"]}):
        with pytest.raises(InputError, match="another run's results"):
            RunFolder(tmp_path / "run").open(other, {})
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match="not empty"):
        RunFolder(tmp_path / "mine").open(IDENTITY, {})
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]
    with pytest.raises(InputError, match="is a file"):
        RunFolder(tmp_path / "mine" / "thesis.tex").open(IDENTITY, {})


def test_folders_that_hold_no_run(tmp_path: Path, parts: list[xr.Dataset]) -> None:
    def refused(part: str) -> None:
        with pytest.raises(InputError) as caught:
            probes.load(tmp_path / "run")
        assert part in str(caught.value)
        assert str(tmp_path / "run") in str(caught.value)

    refused("no such folder")
    (tmp_path / "run").mkdir()
    refused("no run.json")
    (tmp_path / "run" / "measurements").mkdir()
    (tmp_path / "run" / "measurements" / "run.json").touch()
    refused(f"(no run.json in it); {tmp_path / 'run' / 'measurements'} does")
    (tmp_path / "run" / "measurements" / "run.json").unlink()
    (tmp_path / "run" / "measurements").rmdir()
    for content in ("", "{", "[]", "{}", '{"schema": 1}', '{"schema": "x", "identity": {}}', "\x80"):
        (tmp_path / "run" / "run.json").write_text(content)
        refused("damaged")
    (tmp_path / "run" / "run.json").write_text('{"schema": 999, "identity": {}}')
    refused("newer version")
    (tmp_path / "run" / "run.json").unlink()
    write(tmp_path / "run", [])
    refused("nothing is measured")


def test_a_damaged_slice_is_named(tmp_path: Path, parts: list[xr.Dataset]) -> None:
    run = write(tmp_path / "run", parts)
    path = run.slice_path(1)
    whole = path.read_bytes()
    for length in (0, 1, 4, 100, len(whole) // 2, len(whole) - 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        for call in (lambda: run.has_slice(1), lambda: probes.load(tmp_path / "run")):
            with pytest.raises(InputError, match="damaged") as caught:
                call()
            assert str(path) in str(caught.value)
            assert "\n" not in str(caught.value)
    path.write_bytes(whole)
    assert run.has_slice(1)


def test_a_check_refuses_as_opening_does_and_creates_nothing(tmp_path: Path, parts: list[xr.Dataset]) -> None:
    write(tmp_path / "run", parts[:1])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    other = {**IDENTITY, "etas": [0.0, 0.2]}
    bad = [(tmp_path / "run", other), (tmp_path / "mine", other)]
    bad += [(tmp_path / "mine" / "thesis.tex", other), (tmp_path / "mine" / "thesis.tex" / "x", other)]
    for path, wanted in bad:
        lines = []
        for refuse in (RunFolder.check, lambda folder, identity: folder.open(identity, {})):
            with pytest.raises(InputError) as caught:
                refuse(RunFolder(path), wanted)
            lines.append(str(caught.value))
        assert lines[0] == lines[1]
    with pytest.raises(InputError, match="File name too long"):
        RunFolder(tmp_path / ("x" * 300)).check(other)
    RunFolder(tmp_path / "run").check(IDENTITY)
    RunFolder(tmp_path / "new" / "run").check(IDENTITY)
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["thesis.tex"]
    assert not (tmp_path / "new").exists()


def test_a_folder_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def access(path: Any, _: int) -> bool:
        asked.append(str(path))
        return False

    monkeypatch.setattr(os, "access", access)
    with pytest.raises(InputError, match=r"run: cannot be written \(Permission denied\); choose another"):
        RunFolder(tmp_path / "new" / "run").check({})
    assert asked == [str(tmp_path)]


@pytest.mark.parametrize("function", ["replace", "fsync", "chmod"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_fills(
    tmp_path: Path, parts: list[xr.Dataset], monkeypatch: pytest.MonkeyPatch, function: str, code: int
) -> None:
    run = write(tmp_path / "run", parts[:1])
    csv_path = tmp_path / "out.csv"
    csv_path.write_text("earlier")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, function, full)
        with pytest.raises(InputError) as caught:
            run.write_slice(1, parts[1])
        if function != "fsync":
            with pytest.raises(InputError, match=r"out\.csv"):
                export(parts[0], csv_path)
    message = str(caught.value)
    assert ("disk is full" in message) == (code != errno.EIO)
    assert str(run.slice_path(1)) in message
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "0000.nc",
        "out.csv",
        "run",
        "run.json",
        "slices",
    ]
    assert csv_path.read_text() == "earlier"
    assert probes.load(tmp_path / "run").sizes["checkpoint"] == 1
    run.write_slice(1, parts[1])
    assert probes.load(tmp_path / "run").sizes["checkpoint"] == 2

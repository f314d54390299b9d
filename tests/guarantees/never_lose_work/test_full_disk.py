"""A disk that does not take it: the file is named, and nothing half-written stays."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from probes.cli.main import main
from probes.system.files import write_atomically
from tests.guarantees.never_lose_work.runs import everything, refused, run_arguments
from tests.support import processes


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("function", ["mkstemp", "write", "fsync", "replace", "folder"])
def test_whatever_fails_is_named_and_leaves_nothing(
    copy: Path, monkeypatch: pytest.MonkeyPatch, function: str, code: int
) -> None:
    import probes.system.files

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(code, os.strerror(code))

    if function == "folder" and code == errno.EACCES:
        pytest.skip("some systems forbid it, and then it is left out")
    before = everything(copy)
    target = {
        "mkstemp": (probes.system.files.tempfile, "mkstemp"),
        "folder": (probes.system.files, "_sync_folder"),
    }
    with monkeypatch.context() as patch:
        if function != "write":
            patch.setattr(*target.get(function, (os, function)), fail)
        content = fail if function == "write" else b"new"
        for path in (copy / "slices" / "0002.nc", copy / "report.csv"):
            refused(lambda: write_atomically(path, content), str(path))  # noqa: B023
            if function == "folder":
                path.unlink()  # it is whole, though it may not outlast a power cut
    assert everything(copy) == before


def test_files_that_the_system_refuses_to_let_grow(probe_run: Any, inputs: Path, tmp_path: Path) -> None:
    """A real refusal, in the middle of the bytes: every command names the file and leaves no other trace."""
    out, log = tmp_path / "out", tmp_path / "log"
    trained = tmp_path / "trained"
    train = ["train", "--data", str(inputs / "data.npz"), "--depth", "2", "--width", "64", "--epochs", "1"]
    train += ["--batch-size", "20", "--checkpoints", "2", "--out", str(trained)]

    def limited(size: int, arguments: list[str], name: str) -> None:
        log.write_text("")
        process = processes.start(processes.limited_command, log, arguments, size)
        assert processes.ended(process) == 2
        (line,) = [line for line in log.read_text().splitlines() if not line.startswith("[")]
        assert f"{name}: cannot be written (File too large)" in line

    limited(6_000, run_arguments(inputs, out), str(out / "slices" / "0000.nc"))
    assert sorted(everything(out)) == ["run.json", "run.toml"]
    limited(4_000, train, str(trained / ".training-state"))
    assert sorted(everything(trained)) == ["checkpoint-000000.safetensors", "training.csv", "training.json"]
    assert probe_run(inputs, out) == 0
    before = everything(out)
    limited(3_000, ["export", str(out), str(tmp_path / "x.csv")], str(tmp_path / "x.csv"))
    assert everything(out) == before
    assert not (tmp_path / "x.csv").exists()


def test_a_report_on_a_full_disk(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = everything(copy)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        result = CliRunner().invoke(main, ["report", str(copy), "--format", "png"])
    assert result.exit_code == 2
    assert f"{copy / 'report' / 'figure1.png'}: the disk is full" in result.stderr
    assert everything(copy) == before

"""A folder has one writer, and a dead one's leftovers go."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import probes
from probes.cli.main import main
from probes.runs.folder import RunFolder, read_manifest
from probes.system.files import remove_leftovers, write_atomically
from probes.system.locks import FolderLock
from tests.guarantees.never_lose_work.runs import everything, refused, run_arguments
from tests.support import processes


def test_the_second_writer_is_refused_until_the_first_is_dead(
    copy: Path, inputs: Path, tmp_path: Path
) -> None:
    identity = read_manifest(copy)["identity"]
    holder = processes.start(processes.hold_lock, copy, tmp_path / "ready")
    processes.wait_for(tmp_path / "ready", holder)
    before = everything(copy)
    refused(lambda: RunFolder(copy).open(identity, {}), str(copy), f"(pid {holder.pid})", "another `out`")
    assert everything(copy) == before
    assert RunFolder(copy).attach().has_slice(0)  # a further process of the holder's run needs no lock
    assert probes.load(copy).sizes["checkpoint"] == 2
    holder.kill()
    holder.join()
    child = int((tmp_path / "ready").read_text())
    os.kill(child, 0)  # the child lives, and the lock is free none the less
    with RunFolder(copy).open(identity, {}):
        assert (copy / ".lock").read_text().split()[0] == str(os.getpid())
    os.kill(child, signal.SIGKILL)
    assert not (copy / ".lock").exists()


def test_every_command_that_writes_a_folder_takes_its_lock(inputs: Path, tmp_path: Path) -> None:
    data = ["--data", str(inputs / "data.npz")]
    train = ["train", *data, "--depth", "2", "--width", "4", "--epochs", "1", "--batch-size", "20"]
    for arguments in (
        run_arguments(inputs, tmp_path)[:-2],
        [*train, "--checkpoints", "2"],
        ["figure1", *data],
    ):
        out = tmp_path / arguments[0]
        out.mkdir()
        lock = FolderLock(out)
        lock.acquire()
        with lock:
            result = CliRunner().invoke(main, [*arguments, "--out", str(out)])
            assert result.exit_code == 2
            assert f"{out}: another process (pid {os.getpid()}) is writing into it" in result.stderr
            assert len(result.stderr.splitlines()) == 1
            assert [path.name for path in out.iterdir()] == [".lock"]


def test_a_file_system_without_locks(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unsupported(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    leftover = copy / "slices" / ".0001.nc.abcd_123.part"
    leftover.touch()
    before = everything(copy)
    RunFolder(copy).open(read_manifest(copy)["identity"], {}).close()
    assert "has no locks" in capsys.readouterr().err
    assert everything(copy) == before  # it cannot be known whether the leftover's writer is dead


def test_only_what_dead_writers_left_is_removed(copy: Path) -> None:
    slices = copy / "slices"
    dead = [
        copy / ".run.json.abcd_123.part",
        slices / ".0001.nc.00000000.part",
        slices / ".0002.nc.x1y2z3w4.part",
    ]
    others = [copy / ".run.json.backup12", slices / ".0001.nc", slices / "a.part", slices / ".hidden.part"]
    for path in (*dead, *others):
        path.write_text("half")
    (slices / ".folder.abcdefgh.part").mkdir()
    names: list[str] = []

    def slowly(stream: Any) -> None:
        names.extend(path.name for path in slices.iterdir())
        remove_leftovers(slices)
        stream.write(b"whole")

    write_atomically(slices / "0002.nc", slowly)
    assert sum(name.startswith(".0002.nc.") for name in names) == 2  # the dead one's, and the living one's
    assert (slices / "0002.nc").read_bytes() == b"whole"
    (slices / "0002.nc").unlink()
    RunFolder(copy).open(read_manifest(copy)["identity"], {}).close()
    assert not any(path.exists() for path in dead)
    assert all(path.read_text() == "half" for path in others)
    assert (slices / ".folder.abcdefgh.part").is_dir()

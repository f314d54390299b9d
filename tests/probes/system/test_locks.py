"""One writer a folder, also where files are removed and renamed meanwhile. Kills: ``tests/guarantees``."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from probes import InputError
from probes.system.locks import FolderLock, claim_folder


def refuses(folder: Path, why: str) -> None:
    with pytest.raises(InputError, match=why):
        FolderLock(folder).acquire()


def test_the_holder_is_named_and_the_file_goes_with_the_lock(tmp_path: Path) -> None:
    with claim_folder(tmp_path / "new", lambda: None) as lock:
        refuses(lock.folder, rf"new: another process \(pid {os.getpid()}\) is writing into it; wait until")
        lock.path.write_text("4711 elsewhere\n")
        refuses(lock.folder, r"another process \(pid 4711 on elsewhere\) is")
        lock.path.write_text("something else")
        refuses(lock.folder, "another process is writing")
    assert not lock.path.exists()
    lock.release()  # a second time changes nothing
    with claim_folder(tmp_path / "new", lambda: None):
        assert lock.path.read_text().split()[0] == str(os.getpid())


@pytest.mark.parametrize("nfs", [False, True])
def test_a_file_that_its_former_holder_removes_meanwhile_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nfs: bool
) -> None:
    path, real = tmp_path / ".lock", fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        if path.exists():
            path.rename(tmp_path / ".nfs0001") if nfs else path.unlink()
        real(descriptor, operation)

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", late)
        refuses(tmp_path, "another process is writing")
    lock = FolderLock(tmp_path)
    lock.acquire()
    refuses(tmp_path, "another process")
    lock.release()


def test_the_lock_of_another_is_left_alone(tmp_path: Path) -> None:
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    first.acquire()
    first.path.unlink()  # by somebody who emptied the folder
    second.acquire()
    first.release()
    refuses(tmp_path, "another process")
    second.release()
    assert not second.path.exists()


def test_what_cannot_be_written_is_no_missing_lock(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()
    refuses(tmp_path, "is a folder")
    with pytest.raises(InputError, match="of another"), claim_folder(tmp_path / "none", _refuse):
        pass
    assert not (tmp_path / "none").exists()


def _refuse() -> None:
    raise InputError("of another")

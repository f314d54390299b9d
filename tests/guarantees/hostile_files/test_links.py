"""Names that lead elsewhere, where something is to be written: links, pipes and sockets stay as they are."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from figures.saving import write_whole
from probes import InputError
from probes.runs.folder import RunFolder
from probes.system.files import write_atomically
from probes.system.locks import FolderLock
from tests.conftest import Probe
from tests.guarantees.hostile_files.refusals import one_line
from tests.probes.cli.refusals import one_line as refused

MINE = "somebody's own"


def _socket(path: Path, target: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))  # the whole path may be too long for one


PLANTS: dict[str, Callable[[Path, Path], object]] = {
    "link": lambda path, target: path.symlink_to(target),
    "dangling link": lambda path, target: path.symlink_to(target.with_name("not there")),
    "pipe": lambda path, target: os.mkfifo(path),
    "device": _socket,  # the kind that needs no rights
}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "precious.txt"
    path.write_text(MINE)
    return path


@pytest.mark.parametrize("kind", [*PLANTS, "hard link"])
def test_a_lock_that_leads_elsewhere(tmp_path: Path, target: Path, kind: str) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    plant = PLANTS.get(kind, lambda path, to: os.link(to, path))
    plant(folder / ".lock", target)
    before = os.lstat(folder / ".lock")
    one_line(lambda: FolderLock(folder).acquire(), str(folder / ".lock"), kind.split()[-1], "remove it")
    one_line(lambda: RunFolder(folder).open({"seed": 0}, {}), str(folder / ".lock"))
    after = os.lstat(folder / ".lock")
    assert (before.st_ino, before.st_mode, before.st_nlink) == (after.st_ino, after.st_mode, after.st_nlink)
    assert target.read_text() == MINE
    assert sorted(tmp_path.iterdir()) == [folder, target]
    (folder / ".lock").unlink()
    with RunFolder(folder).open({"seed": 0}, {}):
        assert (folder / ".lock").read_text().split()[0] == str(os.getpid())


def test_a_lock_that_becomes_a_link_in_between(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was looked at before, the file that is opened is the one that is written."""
    from probes.system import locks

    monkeypatch.setattr(locks, "refuse_irregular", lambda *_, **__: None)
    (tmp_path / ".lock").symlink_to(target)
    one_line(lambda: FolderLock(tmp_path).acquire(), "cannot be written")
    assert target.read_text() == MINE


@pytest.mark.parametrize("kind", PLANTS)
def test_only_plain_files_are_replaced(tmp_path: Path, target: Path, kind: str) -> None:
    path = tmp_path / "results.csv"
    PLANTS[kind](path, target)
    before = os.lstat(path)
    one_line(lambda: write_atomically(path, b"ours"), str(path), kind.split()[-1], "another file")
    with pytest.raises(FileExistsError):
        write_whole(path, b"ours")
    assert os.lstat(path).st_ino == before.st_ino
    assert target.read_text() == MINE
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["precious.txt", "results.csv"]
    path.unlink()
    for _ in range(2):  # nothing there, and then a plain file
        write_atomically(path, b"ours")
        write_whole(path, b"ours")
    assert path.read_bytes() == b"ours"


def test_one_of_two_names_of_a_file_is_given_to_another(tmp_path: Path, target: Path) -> None:
    os.link(target, tmp_path / "results.csv")
    write_atomically(tmp_path / "results.csv", b"ours")
    assert target.read_text() == MINE


def test_a_link_that_appears_while_a_file_is_written(tmp_path: Path, target: Path) -> None:
    path = tmp_path / "results.csv"

    def slowly(stream: object) -> None:
        path.symlink_to(target)

    with pytest.raises(InputError, match="is a link"):
        write_atomically(path, slowly)
    assert path.is_symlink()
    assert target.read_text() == MINE
    assert len(list(tmp_path.iterdir())) == 2


def test_every_command_leaves_links_alone(
    probe: Probe, trained: Path, measured: Path, data: Path, tmp_path: Path, target: Path
) -> None:
    def linked(folder: str, name: str) -> Path:
        path = tmp_path / folder / name
        path.parent.mkdir(parents=True)
        path.symlink_to(target)
        return path

    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    refused(probe("export", measured, pipe), str(pipe), "is a pipe")
    assert pipe.is_fifo()
    refused(probe("export", measured, linked("a", "results.csv")), "results.csv", "is a link")
    refused(probe("report", measured, "--out", linked("b", "verdicts.json").parent), "verdicts.json", "link")
    run = shutil.copytree(measured, tmp_path / "c")
    (run / "slices" / "0001.nc").unlink()
    (run / "slices" / "0001.nc").symlink_to("gone")
    options = ["--jacobian", 2, "--etas", "0.0001,0.001,0.01,0.1", "--out", run]
    refused(probe("run", trained, *options), "0001.nc", "is a link")
    assert (run / "slices" / "0001.nc").is_symlink()
    lock = linked("d", ".lock")
    train = [
        "train",
        "--data",
        data,
        "--depth",
        2,
        "--width",
        4,
        "--epochs",
        1,
        "--batch-size",
        20,
        "--checkpoints",
        2,
    ]
    for command in (train, ["figure1", "--data", data], ["run", trained]):
        refused(probe(*command, "--out", lock.parent), str(lock), "is a link")
    assert target.read_text() == MINE

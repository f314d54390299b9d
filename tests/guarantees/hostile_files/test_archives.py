"""Archives that deceive: they climb, link, repeat, unpack to more, or lie in their directory."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from probes.checkpoints.checkpoint import read_checkpoint
from probes.data.dataset import load_data
from tests.guarantees.hostile_files.refusals import message_of, one_line, refused
from tests.support.archives import entries_of, write_zip


def test_archives_that_climb_link_or_repeat(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    good = entries_of(path)
    before = sorted(tmp_path.iterdir())
    for name in ("/etc/x", "../x", "net/../../x", "C:\\x", "..\\x", "net/data/../../../x"):
        write_zip(path, [*good, (name, b"x")])
        refused(path, "climbs out")
    write_zip(path, [*good, good[1]])
    refused(path, "two entries named")
    link = zipfile.ZipInfo("net/link")
    link.external_attr = 0o120777 << 16
    write_zip(path, [*good, (link, b"/etc/passwd")])
    refused(path, "is a link")
    write_zip(path, good)
    assert read_checkpoint(path).tensors
    assert sorted(tmp_path.iterdir()) == before


def test_archives_that_unpack_to_more(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    good = entries_of(path)
    write_zip(path, good, zipfile.ZIP_DEFLATED)
    refused(path, "is compressed")
    write_zip(path, [*good, ("net/bomb", bytes(1 << 26))], zipfile.ZIP_DEFLATED)
    refused(path, "claims to unpack")
    np.savez_compressed(
        tmp_path / "d.npz", x=np.zeros((1 << 12, 1 << 12), np.float32), y=np.zeros(1 << 12, np.int64)
    )
    one_line(lambda: load_data(str(tmp_path / "d.npz")), "claims to unpack")
    np.savez_compressed(tmp_path / "d.npz", x=np.eye(9), y=np.arange(9))
    assert len(load_data(str(tmp_path / "d.npz"))) == 9


def lies(whole: bytes) -> Iterator[bytes]:
    """The archive with every size and offset of its directory enlarged in turn."""
    signature = b"PK\x01\x02"
    place = whole.find(signature)
    while place >= 0:
        for offset in (20, 24, 42):
            for value in (0xFFFFFFFF, 0xFFFFFFFE, 0x7FFFFFFF, 1 << 20):
                changed = bytearray(whole)
                struct.pack_into("<I", changed, place + offset, value)
                yield bytes(changed)
        place = whole.find(signature, place + 4)
    end = whole.rfind(b"PK\x05\x06")
    for offset, size in ((8, 2), (10, 2), (12, 4), (16, 4)):
        changed = bytearray(whole)
        changed[end + offset : end + offset + size] = b"\xff" * size
        yield bytes(changed)


def test_directories_that_lie(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save({"a.weight": torch.ones(3, 2)}, path)
    for changed in lies(path.read_bytes()):
        path.write_bytes(changed)
        message = message_of(lambda: read_checkpoint(path))
        if message is None:
            assert torch.equal(read_checkpoint(path).tensors["a.weight"], torch.ones(3, 2))


def test_directories_that_lie_are_told(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save({"a.weight": torch.ones(3, 2)}, path)
    whole = path.read_bytes()
    place = whole.find(b"PK\x01\x02")
    (size,) = struct.unpack_from("<I", whole, place + 24)

    def told(packed: int, unpacked: int, part: str) -> None:
        changed = bytearray(whole)
        struct.pack_into("<II", changed, place + 20, packed, unpacked)
        path.write_bytes(changed)
        refused(path, part)

    told(size, size + 1, "two sizes")
    told(size + 400, size + 400, "overlap")
    told(1 << 30, 1 << 30, "longer than the file")

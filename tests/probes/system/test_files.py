"""Files are whole or absent, and in the order that people count in."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from probes import InputError
from probes.system.files import make_folder, natural_key, write_atomically


def test_writing_is_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    umask = os.umask(0o027)
    try:
        write_atomically(path, b"newer")
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640  # an ordinary file's mode

    def stumble(stream: Any) -> None:
        stream.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, stumble)
    assert path.read_bytes() == b"newer"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(InputError, match="cannot be written"):
        write_atomically(tmp_path / "none" / "file", b"x")
    with pytest.raises(InputError, match="is a file"):
        make_folder(path)


def test_natural_order() -> None:
    names = ["a10", "a9", "a", "b1", "a9b", "a9a", "10", "9", "a1.10", "a1.9"]
    expected = ["9", "10", "a", "a1.9", "a1.10", "a9", "a9a", "a9b", "a10", "b1"]
    assert sorted(names, key=natural_key) == expected

"""Zip archives and torch files taken apart and written by hand."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.probes.checkpoints.examples import state


def rezip(path: Path, change: Callable[[str, bytes], bytes]) -> None:
    """The same archive with other contents."""
    with zipfile.ZipFile(path) as archive:
        entries = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries:
            archive.writestr(name, change(name, content))


def write_zip(path: Path, entries: list[tuple[Any, bytes]], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive, warnings.catch_warnings(action="ignore"):
        for name, content in entries:
            archive.writestr(name, content)


def entries_of(path: Path) -> list[tuple[Any, bytes]]:
    torch.save(state(), path)
    with zipfile.ZipFile(path) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def legacy_head() -> bytes:
    """What a legacy file begins with."""
    return b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))

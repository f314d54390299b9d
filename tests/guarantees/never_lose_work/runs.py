"""The command of a small run, and what lies in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from probes import InputError

GOLDEN = Path(__file__).parent / "golden"
COUNT = 6


def run_arguments(inputs: Path, out: Path) -> list[str]:
    options = "--etas 0.01,0.1 --device cpu --chunk 50 --no-limit --no-curvature --no-ladder"
    return [
        "run",
        str(inputs / "net"),
        "--data",
        str(inputs / "data.npz"),
        *options.split(),
        "--out",
        str(out),
    ]


def everything(folder: Path) -> dict[str, bytes]:
    """All files, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(call: Any, *parts: str) -> None:
    with pytest.raises(InputError) as caught:
        call()
    for part in parts:
        assert part in str(caught.value), caught.value
    assert "\n" not in str(caught.value)


def slice_files(out: Path) -> dict[str, tuple[int, int]]:
    return {
        path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in (out / "slices").glob("*.nc")
    }

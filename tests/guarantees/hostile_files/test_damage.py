"""Damage anywhere in a checkpoint: found, or harmless."""

from __future__ import annotations

import io
import os
import random
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from probes.checkpoints.checkpoint import read_checkpoint
from probes.checkpoints.order import training_order
from probes.data.dataset import load_data
from tests.guarantees.hostile_files.refusals import message_of, one_line, refused
from tests.probes.checkpoints.examples import distributed, exported, scripted
from tests.support.archives import write_zip


def large() -> dict[str, torch.Tensor]:
    return {"a.weight": torch.randn(60, 40), "a.bias": torch.randn(60), "b.weight": torch.randn(30, 60)}


def save_exported(content: dict[str, torch.Tensor], path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(40, 60), torch.nn.Linear(60, 30, bias=False))
    with warnings.catch_warnings(action="ignore"):
        torch.export.save(torch.export.export(module, (torch.ones(2, 40),)), path)


SAVERS: dict[str, Callable[[dict[str, torch.Tensor], Path], Any]] = {
    "zip": torch.save,
    "legacy": lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False),
    "safetensors": save_file,
    "exported": save_exported,
    "distributed": distributed,
}


def damaged_file(path: Path) -> Path:
    return next(path.glob("*.distcp")) if path.is_dir() else path


@pytest.mark.parametrize("kind", SAVERS)
def test_truncation_at_every_kilobyte(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "net"
    SAVERS[kind](large(), path)
    file = damaged_file(path)
    whole = file.read_bytes()
    assert len(whole) > 16_000
    for length in [*range(0, len(whole), 1024), len(whole) - 1]:
        file.write_bytes(whole[:length])
        refused(path, "shorter than .metadata says" if kind == "distributed" else "")
    file.write_bytes(whole)
    assert len(read_checkpoint(path).tensors) >= 3


def test_truncated_metadata_and_indices(tmp_path: Path) -> None:
    path = tmp_path / "net"
    distributed(large(), path)
    whole = (path / ".metadata").read_bytes()
    for length in range(0, len(whole), 40):
        (path / ".metadata").write_bytes(whole[:length])
        refused(path)


@pytest.mark.parametrize(
    "start", [b"", b"PK\x03\x04", b"\x80\x02", b"\x93NUMPY", struct.pack("<Q", 100) + b"{"]
)
def test_random_bytes(tmp_path: Path, start: bytes) -> None:
    source = random.Random(0)
    for length in (1, 10, 300, 5000):
        for _ in range(5):
            (tmp_path / "net.pt").write_bytes(start + source.randbytes(length))
            refused(tmp_path / "net.pt")
            one_line(lambda: load_data(str(tmp_path / "net.pt")))


_SMALL = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A valid file of each kind."""
    place = tmp_path_factory.mktemp("valid")
    found = {}
    for kind in ("zip", "legacy", "safetensors"):
        SAVERS[kind]({**_SMALL}, place / kind)
    scripted(place / "scripted")
    exported(place / "exported")
    np.savez(place / "npz", x=np.ones((3, 2), np.float32), y=np.arange(3))
    os.rename(place / "npz.npz", place / "npz")
    distributed({**_SMALL}, place / "dcp")
    for path in place.iterdir():
        if path.is_file():
            found[path.name] = path.read_bytes()
    found["metadata"] = (place / "dcp" / ".metadata").read_bytes()
    return found


edits = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.sampled_from(["flip", "insert", "delete", "copy"]),
        st.binary(min_size=1, max_size=6),
    ),
    min_size=1,
    max_size=6,
)


@pytest.mark.parametrize(
    "kind", ["zip", "legacy", "safetensors", "scripted", "exported", "npz", "metadata", "pickle"]
)
def test_damage_anywhere(
    valid: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, kind: str
) -> None:
    place = tmp_path_factory.mktemp(kind)
    whole = valid["zip" if kind == "pickle" else kind]
    if kind == "pickle":  # inside of a good archive, where no checksum stands before it
        with zipfile.ZipFile(io.BytesIO(whole)) as archive:
            entries = [(name, archive.read(name)) for name in archive.namelist()]
        whole = next(content for name, content in entries if name.endswith("data.pkl"))

    @settings(
        max_examples=150,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(edits)
    def attempt(changes: list[tuple[float, str, bytes]]) -> None:
        content = bytearray(whole)
        for share, how, what in changes:
            at = int(share * len(content))
            if how == "flip":
                content[at : at + len(what)] = what
            elif how == "insert":
                content[at:at] = what
            elif how == "delete":
                del content[at : at + len(what)]
            else:
                content[at:at] = content[: at // 2]
        path = place / "net"
        if kind == "metadata":
            path.mkdir(exist_ok=True)
            (path / "__0_0.distcp").write_bytes(bytes(4000))
            (path / ".metadata").write_bytes(content)
        elif kind == "pickle":
            write_zip(
                path,
                [(name, bytes(content) if name.endswith("data.pkl") else part) for name, part in entries],
            )
        else:
            path.write_bytes(content)
        for read in (
            lambda: read_checkpoint(path),
            lambda: load_data(str(path)),
            lambda: training_order([path]),
        ):
            message = message_of(read)
            assert message is None or (str(path) in message and message.isprintable()), ascii(message)

    attempt()
